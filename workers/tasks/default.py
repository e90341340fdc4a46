from __future__ import annotations

from segmentation.jobs import Job
from workers.tasks.base import task


@task(Job.SWEEP)
def sweep() -> None:
    from workers import pulse, sweeps

    sweeps.nudge_late_rows()
    pulse.swept()


@task(Job.NIGHTLY)
def nightly() -> None:
    from workers import sweeps

    sweeps.start_nightly_classification()
    sweeps.start_nightly_measurements()


@task(Job.RETRAIN)
def retrain() -> None:
    from segmentation import retraining

    retraining.start_if_due()


@task(Job.RECONCILE)
def reconcile(reconciliation_id: int | None = None) -> None:
    """One comparison with a CRM, or without an id those of the night, and who has gone quiet (workers/schedule.py)."""
    if reconciliation_id is None:
        from workers import sweeps

        sweeps.start_nightly_comparisons()
        sweeps.watch_connections()
    else:
        from crm_integration import reconciling

        reconciling.work(reconciliation_id)


@task(Job.READ_BACK)
def read_back(check_id: int | None = None) -> None:
    """One reading back of a CRM, or without an id those of the night (see workers/schedule.py)."""
    if check_id is None:
        from workers import sweeps

        sweeps.start_nightly_readings()
    else:
        from crm_integration import drift

        drift.work(check_id)


@task(Job.PRUNE)
def prune() -> None:
    from workers import sweeps

    sweeps.prune_once_a_day()


@task(Job.IMPORT_FILE)
def import_file(import_run_id: int) -> None:
    from segmentation import imports

    imports.work(import_run_id)


@task(Job.PRIVACY)
def answer_privacy_request(request_id: int) -> None:
    from segmentation import privacy

    privacy.work(request_id)
