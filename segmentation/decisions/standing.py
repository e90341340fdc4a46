"""Since when customers have the offer that they have now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from segmentation import bulk
from segmentation.models import Decision


def given_at(customer_ids: Sequence[int]) -> dict[int, datetime]:
    """When each customer's present offer was first decided by its campaign, without a break since."""
    columns = ("customer_id", "pk", "campaign_id", "offer_id", "decided_at")
    has: dict[int, tuple[int | None, int | None]] = {}
    since: dict[int, datetime] = {}
    for customer, _pk, campaign, offer, decided_at in sorted(
        bulk.values_in(Decision.objects.all(), customer_ids, *columns)
    ):
        if has.get(customer) != (campaign, offer):
            has[customer], since[customer] = (campaign, offer), decided_at
    return {customer: at for customer, at in since.items() if has[customer][1] is not None}
