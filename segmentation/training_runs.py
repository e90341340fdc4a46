"""Training runs as rows: ask, claim, tell progress, cancel, end. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max, Min
from django.utils.translation import gettext as _

from segmentation import leases
from segmentation.features.days import midnight
from segmentation.jobs import Job, enqueue
from segmentation.kinds import EventKind
from segmentation.ml.config import preset as known_preset
from segmentation.ml.schema import LearningError
from segmentation.models import (
    AttributeValue,
    AuditEntry,
    Event,
    LeaseState,
    Shop,
    Target,
    TrainingRun,
    TrainingRunTarget,
)

# A crash may be chance once; a second one is the data or the machine, and staff should see it.
MAX_ATTEMPTS = 2
OVER = (LeaseState.DONE, LeaseState.FAILED, LeaseState.CANCELLED)
BUYERS_NEEDED = 200
LABELS_NEEDED = 200


class TrainingError(Exception):
    """A training that cannot start; the message says why and what to do."""


class AlreadyTraining(TrainingError):
    """Another run is training the same target."""

    def __init__(self, run: TrainingRun, target: Target) -> None:
        self.run = run
        super().__init__(
            _("“%(target)s” is being trained already by run %(run)s. Wait for it or cancel it.")
            % {"target": target.name, "run": run.pk}
        )


class NotEnoughData(TrainingError):
    """Too little to learn from. `missing` maps what is short, in words, to (found, needed)."""

    def __init__(self, missing: Mapping[str, tuple[int, int]]) -> None:
        self.missing = dict(missing)
        parts = [
            _("needs %(needed)s %(what)s, has %(found)s") % {"needed": needed, "what": what, "found": found}
            for what, (found, needed) in self.missing.items()
        ]
        super().__init__(_("Not enough data to train: %(missing)s.") % {"missing": "; ".join(parts)})


def request(
    targets: Sequence[Target],
    *,
    preset: str = "default",
    seed: int = 1,
    cutoffs: Iterable[date] = (),
    config: Mapping[str, Any] | None = None,
    as_of: date | None = None,
    requested_by: Any = None,
    inside: Callable[[TrainingRun], None] | None = None,
) -> TrainingRun:
    """Queue a run; raises AlreadyTraining, NotEnoughData or TrainingError. Data at or after `as_of` is not read.

    inside: called with the run in the transaction that writes it.
    """
    if not targets:
        raise TrainingError(_("Choose at least one target to train."))
    try:
        known_preset(preset)
    except LearningError as error:
        raise TrainingError(str(error)) from error
    shop = Shop.get()
    as_of = as_of or shop.scoring_as_of()
    require_enough_data(targets, as_of=as_of, shop=shop)
    release_abandoned()
    with transaction.atomic():
        run = TrainingRun.objects.create(
            preset=preset,
            seed=seed,
            cutoffs=[day.isoformat() for day in sorted(set(cutoffs))],
            config=dict(config or {}),
            as_of=as_of,
            requested_by=requested_by if getattr(requested_by, "is_authenticated", False) else None,
        )
        for target in targets:
            _reserve(run, target)
        AuditEntry.record(
            "training.request", run, actor=requested_by, targets=[target.slug for target in targets]
        )
        if inside is not None:
            inside(run)
        enqueue(Job.RUN_TRAINING, run_id=run.pk)
    return run


def claim(run_id: int) -> TrainingRun | None:
    """The run under a fresh lease, or None when it is not due."""
    rows = TrainingRun.objects.filter(pk=run_id)
    claimed = leases.claim(rows, max_attempts=MAX_ATTEMPTS)
    release_abandoned()
    if claimed:
        TrainingRun.objects.filter(pk=run_id, fence=claimed[0].fence).update(epochs=[], progress=0)
        claimed[0].epochs, claimed[0].progress = [], 0
    return claimed[0] if claimed else None


def held(run_id: int, fence: int) -> TrainingRun:
    """The run as claimed under `fence`; raises LeaseLost when someone else holds it now."""
    run = TrainingRun.objects.filter(pk=run_id, fence=fence, state=LeaseState.RUNNING).first()
    if run is None:
        raise leases.LeaseLost(f"training run {run_id} is no longer held under fence {fence}")
    return run


def report_progress(
    run: TrainingRun,
    *,
    progress: float | None = None,
    note: str | None = None,
    epochs: list[Any] | None = None,
) -> None:
    """Renew the lease and say how far it is. Raises leases.Cancelled or leases.LeaseLost.

    epochs: the whole list so far, one entry an epoch, for the live chart.
    """
    if epochs is not None:
        TrainingRun.objects.filter(pk=run.pk, fence=run.fence, state=LeaseState.RUNNING).update(epochs=epochs)
        run.epochs = epochs
    leases.renew(run, progress=progress, note=note)


def request_cancel(run: TrainingRun, by: Any = None) -> bool:
    """Stop a waiting run at once and ask a running one to stop; False when it is over already."""
    with transaction.atomic():
        waiting = TrainingRun.objects.filter(pk=run.pk, state=LeaseState.QUEUED)
        stopped = waiting.update(state=LeaseState.CANCELLED, cancel_requested=True)
        running = TrainingRun.objects.filter(pk=run.pk, state=LeaseState.RUNNING)
        asked = stopped or running.update(cancel_requested=True)
        if asked:
            AuditEntry.record("training.cancel", run, actor=by)
        release_abandoned()
    run.refresh_from_db()
    return bool(asked)


def finish(run: TrainingRun, *, summary: Mapping[str, Any]) -> None:
    with transaction.atomic():
        leases.finish(run, summary=dict(summary), progress_note="")
        release_abandoned()


def fail(run: TrainingRun, error: str) -> None:
    """End the run with the reason that staff will read."""
    with transaction.atomic():
        leases.fail(run, error)
        release_abandoned()


def cancel(run: TrainingRun) -> None:
    with transaction.atomic():
        leases.cancel(run)
        release_abandoned()


def release_abandoned() -> int:
    """Free the targets of runs that are over, however they ended; returns how many."""
    ended = TrainingRunTarget.objects.filter(is_active=True, run__state__in=OVER)
    return ended.update(is_active=False)


def require_enough_data(targets: Sequence[Target], *, as_of: date, shop: Shop) -> None:
    """Raises NotEnoughData with every number that is short."""
    missing: dict[str, tuple[int, int]] = {}
    behaviour = [target for target in targets if target.kind != Target.Kind.CATEGORY]
    if behaviour:
        missing |= _missing_orders(max(target.horizon_days for target in behaviour), as_of=as_of, shop=shop)
    for target in targets:
        if target.kind == Target.Kind.CATEGORY:
            missing |= _missing_labels(target, as_of=as_of, shop=shop)
    if missing:
        raise NotEnoughData(missing)


def _reserve(run: TrainingRun, target: Target) -> None:
    """The partial unique constraint decides, so two requests at once cannot both win."""
    try:
        with transaction.atomic():
            TrainingRunTarget.objects.create(run=run, target=target)
    except IntegrityError:
        other = TrainingRunTarget.objects.select_related("run").filter(target=target, is_active=True).first()
        if other is None:
            raise
        raise AlreadyTraining(other.run, target) from None


def _missing_orders(horizon_days: int, *, as_of: date, shop: Shop) -> dict[str, tuple[int, int]]:
    """A training cutoff and the test after it each need a full horizon of labels, and history before both."""
    orders = Event.objects.filter(
        kind=EventKind.ORDER_PLACED,
        superseded_at__isnull=True,
        occurred_at__lt=midnight(as_of, shop.zone),
        customer__is_profiled=True,
    )
    per_customer = orders.order_by("customer_id").values_list("customer_id", flat=True)
    buyers = len(per_customer.distinct()[:BUYERS_NEEDED])
    span = orders.aggregate(first=Min("occurred_at"), last=Max("occurred_at"))
    days = (midnight(as_of, shop.zone) - span["first"]).days if span["first"] else 0
    needed_days = 3 * horizon_days
    missing = {}
    if buyers < BUYERS_NEEDED:
        missing[_("customers with an order")] = (buyers, BUYERS_NEEDED)
    if days < needed_days:
        missing[_("days since the first order")] = (days, needed_days)
    elif (midnight(as_of, shop.zone) - span["last"]).days >= horizon_days:
        missing[_("orders in the last %(days)s days") % {"days": horizon_days}] = (0, 1)
    return missing


def _missing_labels(target: Target, *, as_of: date, shop: Shop) -> dict[str, tuple[int, int]]:
    labelled = AttributeValue.objects.filter(
        definition_id=target.attribute_id,
        valid_from__lt=midnight(as_of, shop.zone),
        customer__is_profiled=True,
    )
    found = labelled.order_by().values("customer_id").distinct()[:LABELS_NEEDED].count()
    classes = labelled.order_by().values("text", "number").distinct()[:2].count()
    missing = {}
    if found < LABELS_NEEDED:
        missing[_("customers labelled for “%(target)s”") % {"target": target.name}] = (found, LABELS_NEEDED)
    if classes < 2:
        missing[_("classes of “%(target)s”") % {"target": target.name}] = (classes, 2)
    return missing
