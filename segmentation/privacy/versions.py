"""Which models may have learned from a person, and whether they still serve after the day they should not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from django.db.models import Min
from django.utils.translation import gettext as _

from segmentation import alerts, consents, targets
from segmentation.features.days import midnight
from segmentation.models import (
    AttributeValue,
    Consent,
    Event,
    LeaseState,
    ModelSlot,
    ModelVersion,
    PrivacyRequest,
    Shop,
    TrainingRun,
)

ALERT = "privacy.retrain"


@dataclass(frozen=True)
class Seen:
    """Ids of versions that may have learned from a person, and of trainings under way that may be learning."""

    versions: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


def seen_by(customer_ids: Sequence[int]) -> Seen:
    """Versions whose file is still kept and whose training could read this person.

    A version keeps counts, cutoffs and a hash of its rows, not who they were, and large shops learn from a sample. So
    this is “may have”: the person had events before its last cutoff (or a label, for a category) that were received
    before it was made, and had not refused profiling by then. Who never answered is judged by the shop's present basis.
    """
    if not customer_ids:
        return Seen()
    shop = Shop.get()
    received = dict(
        Event.objects.filter(customer__in=customer_ids)
        .order_by()
        .values_list("occurred_at__date")
        .annotate(first=Min("received_at"))
    )
    labelled = _labels(customer_ids)
    versions = ModelVersion.objects.filter(artifact_deleted_at=None).prefetch_related("targets")
    found = [
        version.pk
        for version in versions
        if _could_read(version, received, labelled, shop) and _was_profiled(customer_ids, version.created_at)
    ]
    runs = TrainingRun.objects.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING])
    learning = list(runs.order_by("pk").values_list("pk", flat=True)) if received or labelled else []
    return Seen(sorted(found), learning)


def _labels(customer_ids: Sequence[int]) -> dict[int, datetime]:
    """When the person was first labelled, by column."""
    given = AttributeValue.objects.filter(customer__in=customer_ids).order_by().values_list("definition")
    return dict(given.annotate(first=Min("valid_from")))


def _could_read(
    version: ModelVersion, received: Mapping[date, datetime], labelled: Mapping[int, datetime], shop: Shop
) -> bool:
    learned = [target for target in version.targets.all() if targets.is_labelled(target)]
    if learned:
        firsts = [
            labelled[one.attribute_id] for one in learned if one.attribute_id and one.attribute_id in labelled
        ]
        return any(first < version.created_at for first in firsts)
    cutoff = _last_cutoff(version, shop)
    return any(
        first < version.created_at
        for day, first in received.items()
        if cutoff is None or midnight(day, shop.zone) < cutoff
    )


def _last_cutoff(version: ModelVersion, shop: Shop) -> datetime | None:
    """The last day it learned up to; None when it does not say."""
    days = [date.fromisoformat(day) for day in version.data_snapshot.get("cutoffs") or ()]
    return midnight(max(days), shop.zone) if days else None


def _was_profiled(customer_ids: Sequence[int], at: datetime) -> bool:
    answers = consents.current(customer_ids, at=at)
    given = {answers.get((key, Consent.Purpose.PROFILING)) for key in customer_ids} - {None}
    if Consent.Status.DENIED in given:
        return False
    return bool(given) or consents.profiled_by_default()


def serving() -> set[int]:
    """Champions, and the members of champions that are blends."""
    champions = set(ModelSlot.objects.filter(champion__isnull=False).values_list("champion", flat=True))
    members = ModelVersion.objects.filter(member_of__in=champions).values_list("pk", flat=True)
    return {*champions, *members}


def to_replace(request: PrivacyRequest, in_use: Iterable[int] | None = None) -> list[ModelVersion]:
    """Versions that may have learned from the erased and still serve."""
    serves = set(serving() if in_use is None else in_use)
    seen = set(request.versions)
    if request.runs:
        seen |= set(ModelVersion.objects.filter(training_run__in=request.runs).values_list("pk", flat=True))
    return list(ModelVersion.objects.filter(pk__in=seen & serves).order_by("number"))


def review(today: date) -> None:
    """Raise the alert when a version serves that should have been replaced by now; close it when none does."""
    in_use = serving()
    late = PrivacyRequest.objects.filter(state=LeaseState.DONE, retrain_by__lt=today)
    overdue: set[Any] = set()
    for request in late.only("versions", "runs"):
        overdue |= {version.number for version in to_replace(request, in_use)}
    if not overdue:
        alerts.resolve(ALERT)
        return
    alerts.raise_once(
        ALERT,
        _(
            "Model versions that may have learned from erased people still serve after their time: %(numbers)s. "
            "Train again and promote what comes of it."
        )
        % {"numbers": ", ".join(f"v{number}" for number in sorted(overdue))},
    )
