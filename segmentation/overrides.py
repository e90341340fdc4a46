"""Staff know better about one customer: set a class beside the model's, keep it through every scoring, lift it again.

Score keeps what the model says. `apply` lays what staff set over the answers of a scoring, so that rules, headline
columns and decisions see it; checks of a model and its history go on with the model's own answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import bulk, targets
from segmentation.due import mark_due
from segmentation.in_force import exceptions
from segmentation.locks import lock_customers
from segmentation.models import AuditEntry, Customer, ScoreOverride, Shop, Target
from segmentation.serving import Answers, Serving

EXPIRED_AT_ONCE = 500


class OverrideError(ValueError):
    """This class cannot be set for this customer; the message says why."""


def in_force() -> Any:
    """Rows that count now."""
    return ScoreOverride.objects.filter(ended_at__isnull=True)


def choices(target: Target) -> tuple[str, ...]:
    """The classes that may be set: those of the serving version, else those of the target."""
    from segmentation import registry

    return Serving(target, registry.champion(target)).classes


def put(
    customer: Customer, target: Target, label: str, *, reason: str, by: Any, last_day: date | None = None
) -> ScoreOverride:
    """Set a class for a customer and have the customer decided anew. Raises OverrideError."""
    _refuse_nonsense(customer, target, label, reason, last_day)
    try:
        with transaction.atomic():
            lock_customers([customer.pk])
            _end(in_force().filter(customer=customer, target=target), by=by, action="override.replaced")
            made = ScoreOverride.objects.create(
                customer=customer,
                target=target,
                label=label,
                reason=reason.strip(),
                last_day=last_day,
                set_by=by if getattr(by, "is_authenticated", False) else None,
            )
            AuditEntry.record(
                "override.set",
                customer,
                actor=by,
                target=target.slug,
                label=label,
                until=last_day.isoformat() if last_day else None,
            )
            mark_due([customer.pk], cause="override")
    except IntegrityError as error:
        raise OverrideError(_("Somebody else set it at the same moment. Look again.")) from error
    return made


def lift(override: ScoreOverride, *, by: Any) -> bool:
    """Give the customer back to the model; False when it had ended already."""
    with transaction.atomic():
        lock_customers([override.customer_id])
        return bool(_end(in_force().filter(pk=override.pk), by=by, action="override.lifted"))


def end_expired(today: date) -> int:
    """End what was set until a day before `today`; returns how many. Each customer is decided anew."""
    late = in_force().filter(last_day__lt=today)
    keys = list(late.order_by("pk").values_list("pk", flat=True)[:EXPIRED_AT_ONCE])
    if not keys:
        return 0
    with transaction.atomic():
        return _end(late.filter(pk__in=keys), by=None, action="override.expired")


def of(customer_ids: Sequence[int], absorbed: Mapping[int, int] | None = None) -> dict[tuple[int, int], str]:
    """(customer, target) → class that staff set, in force now.

    absorbed: merged customer → survivor; a survivor's own counts before one that came with a merge.
    """
    into = dict(absorbed or {})
    rows = bulk.values_in(in_force(), [*customer_ids, *into], "customer_id", "target_id", "label")
    found: dict[tuple[int, int], str] = {}
    for customer, target, label in sorted(rows, key=lambda row: (row[0] not in into, row)):
        found[into.get(customer, customer), target] = label
    return found


def apply(
    answers: Sequence[Answers],
    customer_ids: Sequence[int],
    absorbed: Mapping[int, int] | None = None,
    *,
    profiled: np.ndarray,
) -> list[Answers]:
    """The answers with what staff set beside them (Answers.said); row by row of `customer_ids`.

    profiled: (n,) who may be profiled; of the others nothing is said.
    """
    known = of(customer_ids, absorbed) if "said" in exceptions() else {}
    if not known:
        return list(answers)
    place = {key: row for row, key in enumerate(customer_ids)}
    found = []
    for answer in answers:
        said = np.full(len(answer.value), "", dtype=object)
        for (customer, target), label in known.items():
            if target == answer.serving.target.pk and customer in place:
                said[place[customer]] = label
        said[~profiled] = ""
        is_set = targets.is_class_target(answer.serving.target) and bool((said != "").any())
        found.append(replace(answer, said=said) if is_set else answer)
    return found


def of_customer(customer: Customer) -> list[ScoreOverride]:
    """What counts for this customer now, by target."""
    people = [customer.pk, *customer.merged_from.values_list("pk", flat=True)]
    rows = in_force().filter(customer__in=people).select_related("target__attribute", "set_by")
    own_last = sorted(rows, key=lambda row: (row.customer_id == customer.pk, row.pk))
    return sorted({row.target_id: row for row in own_last}.values(), key=lambda row: row.target.slug)


def _refuse_nonsense(
    customer: Customer, target: Target, label: str, reason: str, last_day: date | None
) -> None:
    if not targets.is_class_target(target):
        raise OverrideError(_("“%(target)s” has no classes to choose from.") % {"target": target.name})
    if label not in choices(target):
        raise OverrideError(
            _("“%(label)s” is no class of “%(target)s”.") % {"label": label, "target": target.name}
        )
    if not reason.strip():
        raise OverrideError(_("Say why: the next person who looks will want to know."))
    if customer.merged_into_id is not None:
        raise OverrideError(_("This customer was merged into another; set it there."))
    if not customer.is_profiled:
        raise OverrideError(_("This customer is not profiled, so no class may be set either."))
    if last_day is not None and last_day < Shop.get().today():
        raise OverrideError(_("The last day is over already."))


def _end(rows: Any, *, by: Any, action: str) -> int:
    """End these rows, write it down, and have their customers decided anew. Needs a transaction."""
    ended: Iterable[ScoreOverride] = list(rows.select_related("target", "customer"))
    count = 0
    for row in ended:
        is_person = getattr(by, "is_authenticated", False)
        if in_force().filter(pk=row.pk).update(ended_at=timezone.now(), ended_by=by if is_person else None):
            AuditEntry.record(action, row.customer, actor=by, target=row.target.slug, label=row.label)
            mark_due([row.customer_id], cause="override")
            count += 1
    return count
