"""One customer against a draft rule: every condition with what it found (from stored features and scores)."""

from __future__ import annotations

from dataclasses import dataclass

from segmentation import memberships, previews, rule_columns, segments, stored_frames
from segmentation.models import Customer, Segment, Shop
from segmentation.normal import is_clean
from segmentation.rules import language
from segmentation.rules.explain import Explained, explain


@dataclass(frozen=True)
class Tested:
    """not_profiled: the rule uses predictions, which nobody outside profiling gets, so it does not hold."""

    customer_id: int
    reference: str
    holds: bool
    not_profiled: bool
    explained: Explained


def test(rule: object, *, segment: Segment | None, reference: str) -> Tested | None:
    """None when no classified customer has that number. Raises RuleError."""
    node = previews.draft(rule, segment)
    if not is_clean(reference):
        return None
    customer = Customer.objects.filter(reference=reference.strip()).select_related("merged_into").first()
    if customer is None:
        return None
    person = customer.merged_into or customer
    used = segments.definitions(language.segments_used(node))
    wanted = rule_columns.of([node, *(definition.node for definition in used)])
    ids = list(stored_frames.classified().filter(pk=person.pk).values_list("pk", flat=True))
    if not ids:
        return None
    row = memberships.evaluate(stored_frames.read(ids, wanted=wanted), used).row(0, named=True)
    found = explain(node, row, today=Shop.get().today())
    closed = segments.predicts(node, used) and not row["customer.is_profiled"]
    return Tested(person.pk, person.reference, found.holds and not closed, closed, found)
