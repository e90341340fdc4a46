"""Training runs as rows: ask, claim, tell progress, cancel, end. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Max, Min, QuerySet
from django.utils.translation import gettext as _

from segmentation import leases
from segmentation.features.days import midnight
from segmentation.jobs import Job, enqueue
from segmentation.kinds import EventKind
from segmentation.ml import families
from segmentation.ml.config import TrainingConfig
from segmentation.ml.config import preset as known_preset
from segmentation.ml.schema import LearningError
from segmentation.models import (
    AttributeValue,
    AuditEntry,
    Event,
    LeaseState,
    Shop,
    Target,
    TrainingCheckpoint,
    TrainingRun,
    TrainingRunTarget,
)
from segmentation.target_settings import NO, YES, positives
from segmentation.targets import CLASS_CUSTOMERS_NEEDED, is_behaviour, is_evaluated, is_labelled

# A crash may be chance once; a second one is the data or the machine, and staff should see it.
MAX_ATTEMPTS = 2
OVER = (LeaseState.DONE, LeaseState.FAILED, LeaseState.CANCELLED)
BUYERS_NEEDED = 200
LABELS_NEEDED = 200
POPULATION_DAYS = 365
# Arithmetic with days before the first of the calendar fails; no shop's orders are older than this.
EARLIEST = date(1970, 1, 1)


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
    algorithms: Sequence[str] = (),
    as_of: date | None = None,
    requested_by: Any = None,
    inside: Callable[[TrainingRun], None] | None = None,
    cause: str = TrainingRun.Cause.PERSON,
    cause_note: str = "",
) -> TrainingRun:
    """Queue a run; raises AlreadyTraining, NotEnoughData or TrainingError. Data at or after `as_of` is not read.

    algorithms: which to train, by name, "all" for every one; empty for the usual ones. config: settings of
    ml.config.TrainingConfig that take the place of the preset's, and those of training.RUN_SETTINGS.
    inside: called with the run in the transaction that writes it.
    """
    if not targets:
        raise TrainingError(_("Choose at least one target to train."))
    given = dict(config or {})
    if algorithms:
        given["algorithms"] = list(algorithms)
    try:
        _check(preset, given, targets)
    except LearningError as error:
        raise TrainingError(str(error)) from error
    shop = Shop.get()
    as_of = as_of or shop.scoring_as_of()
    cutoffs = list(cutoffs)
    require_days(cutoffs, as_of=as_of)
    require_enough_data(targets, as_of=as_of, shop=shop)
    release_abandoned()
    with transaction.atomic():
        run = TrainingRun.objects.create(
            preset=preset,
            seed=seed,
            cutoffs=[day.isoformat() for day in sorted(set(cutoffs))],
            config=given,
            cause=cause,
            cause_note=cause_note,
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


def require_days(days: Iterable[date], *, as_of: date) -> None:
    """Raises TrainingError for a day that no shop has data of, or that has not come yet."""
    for day in days:
        if not EARLIEST <= day <= as_of:
            raise TrainingError(
                _("%(day)s is no day to learn from or to test on: give days from %(first)s to %(last)s.")
                % {"day": day.isoformat(), "first": EARLIEST.isoformat(), "last": as_of.isoformat()}
            )


# Settings of a run that are not its learners'.
RUN_SETTINGS = ("rounds", "max_rows", "algorithms", "search")


def _check(preset: str, given: Mapping[str, Any], targets: Sequence[Target]) -> None:
    """Raises LearningError for a preset, setting or algorithm that there is not, or that does not fit the targets."""
    own = {name: value for name, value in given.items() if name not in RUN_SETTINGS}
    config = TrainingConfig.from_json({**known_preset(preset).to_json(), **own})
    families.require_private(given.get("algorithms", ()), config, searching=bool(given.get("search")))
    for target in targets:
        if config.privacy_epsilon and not is_evaluated(target):
            raise LearningError(
                _(
                    "“%(target)s” is found without labels, and differential privacy is there for networks with labels."
                )
                % {"target": target.name}
            )
        if given.get("algorithms") and target.kind == Target.Kind.UPLIFT:
            families.effects_chosen(given["algorithms"])
        elif given.get("algorithms"):
            families.chosen(given["algorithms"], with_orders=not is_labelled(target))


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
        asked = leases.ask_to_stop(run)
        if asked:
            AuditEntry.record("training.cancel", run, actor=by)
        release_abandoned()
    run.refresh_from_db()
    return asked


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
    # Whoever goes on from a state is a later attempt of the same run; after its end nobody does.
    TrainingCheckpoint.objects.filter(run__state__in=OVER).delete()
    return ended.update(is_active=False)


def require_enough_data(targets: Sequence[Target], *, as_of: date, shop: Shop) -> None:
    """Raises NotEnoughData with every number that is short."""
    missing: dict[str, tuple[int, int]] = {}
    behaviour = [target for target in targets if is_behaviour(target)]
    if behaviour:
        missing |= _missing_orders(max(target.horizon_days for target in behaviour), as_of=as_of, shop=shop)
    others = [target for target in targets if target.kind != Target.Kind.UPLIFT]
    if any(not is_behaviour(target) and not is_labelled(target) for target in others):
        missing |= _missing_buyers(as_of=as_of, shop=shop)
    for target in targets:
        if is_labelled(target):
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


def _missing_buyers(*, as_of: date, shop: Shop) -> dict[str, tuple[int, int]]:
    """What finds structure needs customers to find it in."""
    since = midnight(as_of - timedelta(days=POPULATION_DAYS), shop.zone)
    orders = Event.objects.filter(
        kind=EventKind.ORDER_PLACED,
        superseded_at__isnull=True,
        occurred_at__range=(since, midnight(as_of, shop.zone)),
        customer__is_profiled=True,
    )
    found = len(
        orders.order_by("customer_id").values_list("customer_id", flat=True).distinct()[:BUYERS_NEEDED]
    )
    if found >= BUYERS_NEEDED:
        return {}
    return {_("customers with an order in the last year"): (found, BUYERS_NEEDED)}


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
    return missing or _missing_of_classes(target, labelled)


def _missing_of_classes(target: Target, labelled: QuerySet[AttributeValue]) -> dict[str, tuple[int, int]]:
    """A known class that is too rare: a fifth of its customers tests, and the rest has to teach."""
    counted = (
        labelled.order_by().values_list("text", "number").annotate(n=Count("customer_id", distinct=True))
    )
    found: dict[str, int] = {}
    for text, number, n in counted:
        name = text if text is not None else (YES if number else NO)
        found[name] = found.get(name, 0) + n
    if target.kind == Target.Kind.RISK:
        risky = positives(target)
        wanted = {", ".join(risky): sum(found.get(name, 0) for name in risky)}
    else:
        wanted = {name: found.get(name, 0) for name in target.settings.get("classes", ())}
    return {
        _("customers labelled “%(class)s” for “%(target)s”") % {"class": name, "target": target.name}: (
            n,
            CLASS_CUSTOMERS_NEEDED,
        )
        for name, n in wanted.items()
        if n < CLASS_CUSTOMERS_NEEDED
    }
