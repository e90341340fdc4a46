"""What is said, or refused, before learning from rows that would make figures too good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Min
from django.utils.translation import gettext as _

from segmentation.features.names import column_label
from segmentation.ml import leaks
from segmentation.ml.schema import Frame
from segmentation.ml.schema import Target as Learned
from segmentation.models import AttributeDefinition, AttributeValue, Target
from segmentation.training_runs import TrainingError

ATTRIBUTE = "attribute."
# Labelled customers looked at for columns that came after their label, and from which share on that is said.
LOOKED_AT, LATE_SHARE = 5_000, 0.5
LATER = timedelta(days=1)


class Leaking(TrainingError):
    """Rows that tell the answer; the message names where and says what to do."""


def check(family: Sequence[Target], learned: Sequence[Learned], train: Frame, test: Frame) -> list[str]:
    """Warnings in words, to be stored with the version; raises Leaking where a figure could not be believed."""
    late = {slug for target in family for slug in late_columns(target)}
    warnings = [*_repeated(train, test)]
    trusted = {name for target in family for name in target.settings.get("trusted", ())}
    for telling in leaks.telling_columns(train, learned):
        slug = telling.column.removeprefix(ATTRIBUTE)
        if slug in trusted:
            continue
        if telling.is_certain or (slug in late and telling.column.startswith(ATTRIBUTE)):
            raise Leaking(_refusal(telling))
        warnings.append(_warning(telling))
    return [*warnings, *(_late(slug) for slug in sorted(late))]


def late_columns(target: Target) -> list[str]:
    """Short names of the shop's own columns that most customers were given only after their label."""
    if target.attribute_id is None:
        return []
    columns = AttributeDefinition.objects.filter(is_feature=True).exclude(pk=target.attribute_id)
    given = AttributeValue.objects.filter(definition=target.attribute_id).order_by("customer_id")
    labelled = dict(given.values_list("customer_id").annotate(first=Min("valid_from"))[:LOOKED_AT])
    if not labelled:
        return []
    span = (min(labelled), max(labelled))
    found = []
    for column in columns:
        values = column.values.filter(customer__gte=span[0], customer__lte=span[1]).order_by("customer_id")
        firsts = dict(values.values_list("customer_id").annotate(first=Min("valid_from"))[: 2 * LOOKED_AT])
        both = labelled.keys() & firsts.keys()
        later = sum(firsts[key] > labelled[key] + LATER for key in both)
        if both and later / len(both) >= LATE_SHARE:
            found.append(column.slug)
    return found


def _repeated(train: Frame, test: Frame) -> list[str]:
    share = leaks.repeated_share(train, test)
    if share >= leaks.MANY_REPEATED:
        raise Leaking(
            _(
                "%(share)s of the rows to test on repeat a row to learn from, so every figure would be too good. "
                "Were rows copied to balance the classes? Bring the table in without copies; a training balances "
                "classes by itself, on the rows it learns from alone."
            )
            % {"share": f"{share:.0%}"}
        )
    if share < leaks.REPEATED:
        return []
    return [
        _(
            "%(count)s rows tested on look exactly like a row learned from (%(share)s). They were kept; if they are "
            "copies, the figures are a little too good."
        )
        % {"count": round(share * len(test)), "share": f"{share:.1%}"}
    ]


def _refusal(telling: leaks.Telling) -> str:
    return _(
        "The column “%(column)s” alone tells “%(target)s” almost perfectly (AUC %(auc)s). It was probably filled in "
        "after the label, or is the label under another name. Take it out under Attributes (“learn from it”), or, "
        "if it is known beforehand for every new customer, name it among the target's checked columns."
    ) % _said(telling)


def _warning(telling: leaks.Telling) -> str:
    return _(
        "The column “%(column)s” alone tells “%(target)s” very well (AUC %(auc)s). Make sure that it is known before "
        "the answer is."
    ) % _said(telling)


def _said(telling: leaks.Telling) -> dict[str, Any]:
    return {
        "column": column_label(telling.column),
        "target": telling.target,
        "auc": f"{telling.auc:.3f}",
    }


def _late(slug: str) -> str:
    return _(
        "Most customers were given “%(column)s” only after their label. What is known only afterwards cannot help "
        "with new customers."
    ) % {"column": column_label(ATTRIBUTE + slug)}
