"""Staff say what a customer is: a label in the column that a target learns from, with who and when.

The label is a dated value of the column like any other (attributes.py), so trainings, rules and imports see it; who
gave it stands in the audit log. A label is an example to learn from; to overrule a score see overrides.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import attributes, target_settings, targets
from segmentation.attributes import DatedValue, Stored
from segmentation.due import mark_due
from segmentation.locks import lock_customers
from segmentation.models import AttributeDefinition, AuditEntry, Customer, Target

ACTION = "label.marked"
# More at once is a list, which `import_customers` takes in.
# The page asks with a field for each, and Django takes 1000 fields of a form at most.
MOST_AT_ONCE = 900
HISTORY = 20
# Of a free text nobody has listed or learned; more than these are names, not labels.
MOST_LABELS = 50


class MarkError(ValueError):
    """This label cannot be given; the message says why."""


@dataclass(frozen=True)
class Mark:
    """One entry of a customer's history; label is empty where it was taken away."""

    at: datetime
    by: str
    target: str
    label: str


def markable() -> list[Target]:
    """Targets that learn from labels of staff."""
    return [target for target in targets.active() if targets.is_labelled(target) and target.attribute]


def labels(target: Target) -> tuple[str, ...]:
    """What may be chosen: the column's list, what the target knows, and for a risk something that is none."""
    column = target.attribute
    if column is None:
        return ()
    if column.kind == AttributeDefinition.Kind.BOOLEAN:
        return (target_settings.NO, target_settings.YES)
    known = [str(choice) for choice in column.choices]
    known += targets.classes(target)
    if target.kind == Target.Kind.RISK:
        risky = target_settings.positives(target)
        known += risky
        if set(known) <= set(risky):
            known.append(target_settings.NO)
    if not known:
        given = column.values.filter(text__isnull=False).exclude(text="").order_by("text")
        known = [str(text) for text in given.values_list("text", flat=True).distinct()[:MOST_LABELS]]
    return tuple(dict.fromkeys(known))


def put(customers: Sequence[Customer], target: Target, label: str, *, by: Any) -> int:
    """Give these customers the label from now on, or take theirs away ("" ); returns how many had another before.

    Customers who may not be profiled are left out. Raises MarkError.
    """
    column = target.attribute
    if column is None or not targets.is_labelled(target):
        raise MarkError(_("“%(target)s” does not learn from labels of your staff.") % {"target": target.name})
    if label and label not in labels(target):
        raise MarkError(
            _("“%(label)s” is no label of “%(target)s”.") % {"label": label, "target": target.name}
        )
    if len(customers) > MOST_AT_ONCE:
        raise MarkError(
            _(
                "%(count)s customers are too many at once; at most %(most)s. Import a list with a label column."
            )
            % {"count": len(customers), "most": MOST_AT_ONCE}
        )
    allowed = [one.pk for one in customers if one.is_profiled and one.merged_into_id is None]
    if not allowed:
        raise MarkError(_("Nobody here may be profiled, so no label would be learned from."))
    value = attributes.to_stored(column, label) if label else Stored()
    now = timezone.now()
    with transaction.atomic():
        lock_customers(allowed)
        if not label:
            # Where there never was one, there is none to take away.
            rows = column.values.filter(customer__in=allowed).order_by()
            allowed = sorted(set(rows.values_list("customer_id", flat=True)))
        changed = attributes.write(DatedValue(key, column.pk, now, value) for key in allowed)
        AuditEntry.objects.bulk_create(_entry(key, target, label, by) for key in sorted(changed))
        mark_due(changed, cause="marked")
    return len(changed)


def history(customer: Customer) -> list[Mark]:
    """Who said what of this customer, the newest first."""
    rows = AuditEntry.objects.filter(
        object_type=Customer._meta.label_lower, object_id=str(customer.pk), action=ACTION
    )
    return [
        Mark(
            at=row.at,
            by=row.actor.get_username() if row.actor else "",
            target=str(row.detail.get("name", "")),
            label=str(row.detail.get("label", "")),
        )
        for row in rows.select_related("actor").order_by("-id")[:HISTORY]
    ]


def _entry(customer_id: int, target: Target, label: str, by: Any) -> AuditEntry:
    return AuditEntry(
        actor=by if getattr(by, "is_authenticated", False) else None,
        action=ACTION,
        object_type=Customer._meta.label_lower,
        object_id=str(customer_id),
        detail={"target": target.slug, "name": target.name, "label": label},
    )
