"""The order of the service priority rules: the first that fits wins, and staff move one place at a time."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Max

from segmentation.models import AuditEntry, ServicePriorityRule


def places() -> dict[int, int]:
    """Rule id → its place in the order, from 1 without gaps."""
    ids = ServicePriorityRule.objects.order_by("position").values_list("pk", flat=True)
    return {pk: place for place, pk in enumerate(ids, 1)}


def next_position() -> int:
    """A new rule is asked last."""
    return (ServicePriorityRule.objects.aggregate(last=Max("position"))["last"] or 0) + 1


@transaction.atomic
def move(rule: ServicePriorityRule, by: int, *, actor: Any = None) -> int:
    """Change places with the neighbour above (-1) or below (1), if there is one. Returns the place, from 1."""
    rules = list(ServicePriorityRule.objects.select_for_update().order_by("position"))
    here = next(place for place, one in enumerate(rules) if one.pk == rule.pk)
    there = here + by
    if not 0 <= there < len(rules):
        return here + 1
    mine, other = rules[here], rules[there]
    # Positions are unique at every moment, so one of the two steps aside first.
    for one, position in (
        (mine, rules[-1].position + 1),
        (other, mine.position),
        (mine, other.position),
    ):
        ServicePriorityRule.objects.filter(pk=one.pk).update(position=position)
    AuditEntry.record("moved", mine, actor=actor, place=there + 1, before=here + 1)
    return there + 1
