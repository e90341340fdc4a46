"""Evaluations as rows: ask, claim, run, end. The figures are those of `evaluate`. Loads torch only to run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import structlog
from django.conf import settings as django_settings
from django.db import transaction
from django.utils.translation import gettext as _

from segmentation import leases, stored_files, targets, training_runs
from segmentation.jobs import Job, enqueue
from segmentation.ml import families
from segmentation.ml.config import TrainingConfig
from segmentation.ml.config import preset as known_preset
from segmentation.ml.schema import LearningError
from segmentation.models import AuditEntry, EvaluationRun, LeaseState, Shop, Target
from segmentation.training_runs import TrainingError

log = structlog.get_logger(__name__)
MAX_ATTEMPTS = 2
MOST_ORIGINS, MOST_FOLDS = 12, 20
MAX_ROWS = 20_000
WRITE_SECONDS = 1.0
Watcher = Callable[[float, str], None]


def request(
    wanted: Sequence[Target],
    *,
    origins: Sequence[date] = (),
    folds: int = 0,
    seed: int = 1,
    rounds: int = 1000,
    preset: str = "default",
    config: Mapping[str, Any] | None = None,
    algorithms: Sequence[str] = (),
    requested_by: Any = None,
) -> EvaluationRun:
    """Queue an evaluation; raises TrainingError with what to do. algorithms: as for training_runs.request."""
    _require(wanted, origins=origins, folds=folds, preset=preset)
    _require_algorithms(wanted, algorithms)
    shop = Shop.get()
    training_runs.require_days(origins, as_of=shop.scoring_as_of())
    training_runs.require_enough_data(wanted, as_of=shop.scoring_as_of(), shop=shop)
    with transaction.atomic():
        run = EvaluationRun.objects.create(
            preset=preset,
            origins=[day.isoformat() for day in sorted(set(origins))],
            folds=folds,
            seed=seed,
            rounds=rounds,
            config={**(config or {}), **({"algorithms": list(algorithms)} if algorithms else {})},
            requested_by=requested_by if getattr(requested_by, "is_authenticated", False) else None,
        )
        run.targets.set(wanted)
        AuditEntry.record(
            "evaluation.request", run, actor=requested_by, targets=[target.slug for target in wanted]
        )
        enqueue(Job.RUN_EVALUATION, run_id=run.pk)
    return run


def _require(wanted: Sequence[Target], *, origins: Sequence[date], folds: int, preset: str) -> None:
    if not wanted:
        raise TrainingError(_("Choose at least one target to evaluate."))
    for target in wanted:
        if not targets.is_evaluated(target):
            raise TrainingError(
                _("“%(target)s” has no labels to be judged by; its version's page shows how stable it is.")
                % {"target": target.name}
            )
    if folds and not 2 <= folds <= MOST_FOLDS:
        raise TrainingError(_("Ask for 2 to %(most)s folds, or none.") % {"most": MOST_FOLDS})
    if len(set(origins)) > MOST_ORIGINS:
        raise TrainingError(_("Ask for at most %(most)s days to test on.") % {"most": MOST_ORIGINS})
    if folds and len(set(origins)) > 1:
        raise TrainingError(_("With folds give one day to test on at most."))
    try:
        known_preset(preset)
    except LearningError as error:
        raise TrainingError(str(error)) from error


def _require_algorithms(wanted: Sequence[Target], algorithms: Sequence[str]) -> None:
    try:
        for target in wanted if algorithms else ():
            families.chosen(algorithms, with_orders=not targets.is_labelled(target))
    except LearningError as error:
        raise TrainingError(str(error)) from error


def claim(run_id: int) -> EvaluationRun | None:
    """The run under a fresh lease, or None when it is not due."""
    claimed = leases.claim(EvaluationRun.objects.filter(pk=run_id), max_attempts=MAX_ATTEMPTS)
    return claimed[0] if claimed else None


def held(run_id: int, fence: int) -> EvaluationRun:
    """The run as claimed under `fence`; raises LeaseLost when someone else holds it now."""
    run = EvaluationRun.objects.filter(pk=run_id, fence=fence, state=LeaseState.RUNNING).first()
    if run is None:
        raise leases.LeaseLost(f"evaluation {run_id} is no longer held under fence {fence}")
    return run


def request_cancel(run: EvaluationRun, by: Any = None) -> bool:
    """Stop a waiting run at once and ask a running one to stop; False when it is over already."""
    with transaction.atomic():
        asked = leases.ask_to_stop(run)
        if asked:
            AuditEntry.record("evaluation.cancel", run, actor=by)
    run.refresh_from_db()
    return asked


def run(row: EvaluationRun) -> None:
    """Run the claimed evaluation to its end, whatever that is; raises LeaseLost when it is somebody else's by now."""
    try:
        report, predictions = _evaluate(row)
        leases.finish(row, report=report, predictions=predictions, progress_note="")
    except leases.Cancelled:
        leases.cancel(row)
    except leases.LeaseLost:
        log.warning("evaluation.lease_lost", run=row.pk)
        raise
    except (LearningError, TrainingError, targets.TargetError) as error:
        leases.fail(row, str(error))
    except Exception as error:
        leases.fail(row, f"{type(error).__name__}: {error}")
        raise


def _evaluate(row: EvaluationRun) -> tuple[list[Any], str]:
    import polars as pl

    from segmentation import backtests, training

    wanted = list(row.targets.filter(is_active=True).select_related("attribute").order_by("slug"))
    if not wanted:
        raise TrainingError(_("Its targets were deleted or switched off meanwhile."))
    own = {name: value for name, value in row.config.items() if name != "algorithms"}
    chosen = {**known_preset(row.preset).to_json(), "device": training.device(), **own}
    config = TrainingConfig.from_json({**chosen, "seed": row.seed})
    groups = training.families(wanted)
    results = []
    for number, family in enumerate(groups):
        days = [date.fromisoformat(day) for day in row.origins] or [backtests.latest_origin(family)]
        results.append(
            backtests.run(
                family,
                origins=days,
                folds=row.folds,
                config=config,
                rounds=row.rounds,
                max_rows=MAX_ROWS,
                algorithms=tuple(row.config.get("algorithms", ())),
                watch=_watcher(row, number / len(groups), 1 / len(groups)),
            )
        )
    path = _folder(row) / "predictions.parquet"
    pl.concat([result.predictions for result in results], how="diagonal").write_parquet(path)
    stored_files.keep(path)
    # Through orjson: numpy's numbers and what is not finite become plain JSON.
    report = orjson.loads(
        orjson.dumps([result.report for result in results], option=orjson.OPT_SERIALIZE_NUMPY)
    )
    return report, stored_files.reference(path)


def _watcher(row: EvaluationRun, start: float, share: float) -> Watcher:
    written = 0.0

    def watch(fraction: float, note: str) -> None:
        nonlocal written
        if time.monotonic() - written >= WRITE_SECONDS:
            written = time.monotonic()
            leases.renew(row, progress=start + share * fraction, note=note)

    return watch


def _folder(row: EvaluationRun) -> Path:
    folder = Path(django_settings.VAR_DIR) / "evaluations" / str(row.pk)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
