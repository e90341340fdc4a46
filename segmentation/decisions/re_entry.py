"""When a campaign with a waiting time may come again.

An offer stays for its `valid_days` from the day it was first given, while the customer fits. After that, or once
the customer has stopped fitting, the campaign waits until `re_entry_days` after that day. Days are whole days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from segmentation import bulk
from segmentation.decisions.policy import Candidate
from segmentation.models import Customer, Decision


@dataclass(frozen=True)
class Entry:
    """The last time a campaign was given. `open`: it is what the customer has now."""

    day: date
    open: bool


Entries = Mapping[tuple[int, int], Entry]


def entries(customer_ids: Sequence[int], candidates: Sequence[Candidate]) -> Entries:
    """(customer id, campaign id) → last entry, for campaigns that have a waiting time."""
    campaigns = {c.campaign.id for c in candidates if c.campaign.waits}
    if not campaigns:
        return {}
    # What a person had under an id that was merged into another counts for the other.
    merged = bulk.values_in(Customer.objects.all(), customer_ids, "pk", "merged_into_id", by="merged_into_id")
    survivors = dict(merged)
    asked = [*customer_ids, *survivors]
    rows = sorted(bulk.values_in(Decision.objects.all(), asked, "customer_id", "pk", "campaign_id", "as_of"))
    found: dict[tuple[int, int], Entry] = {}
    previous: tuple[int, int | None] = (0, None)
    for customer, _pk, campaign, as_of in rows:
        if previous[0] == customer and previous[1] in campaigns and previous[1] != campaign:
            key = (customer, previous[1])
            found[key] = Entry(found[key].day, open=False)
        if campaign in campaigns and previous != (customer, campaign):
            found[customer, campaign] = Entry(as_of, open=True)
        previous = (customer, campaign)
    return found if not survivors else _of_survivors(found, survivors)


def _of_survivors(found: Entries, survivors: Mapping[int, int]) -> Entries:
    """The later of several entries of one person; what a merged id has is over."""
    joined: dict[tuple[int, int], Entry] = {}
    for (customer, campaign), entry in found.items():
        key = (survivors.get(customer, customer), campaign)
        own = Entry(entry.day, open=False) if customer in survivors else entry
        before = joined.get(key)
        joined[key] = own if before is None else max(before, own, key=lambda one: (one.day, one.open))
    return joined


def waiting(
    customer_ids: Sequence[int], candidates: Sequence[Candidate], known: Entries, *, as_of: date
) -> np.ndarray | None:
    """(n, candidates) True where the campaign must wait; None when no campaign has a waiting time."""
    if not any(c.campaign.waits for c in candidates):
        return None
    out = np.zeros((len(customer_ids), len(candidates)), dtype=bool)
    rows = {customer: row for row, customer in enumerate(customer_ids)}
    for (customer, campaign), entry in known.items():
        for column, candidate in enumerate(candidates):
            if candidate.campaign.id == campaign:
                out[rows[customer], column] = must_wait(candidate, entry, as_of=as_of)
    return out


def must_wait(candidate: Candidate, entry: Entry, *, as_of: date) -> bool:
    if not candidate.campaign.waits:
        return False
    if entry.open and as_of < entry.day + timedelta(days=candidate.offer.valid_days):
        return False
    return as_of < entry.day + timedelta(days=candidate.campaign.wait_days)
