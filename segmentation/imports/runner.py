"""One import from beginning to end: read, normalise, stage, store, report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import leases, stored_files
from segmentation.imports import customer_loader, event_loader, plan, rejects
from segmentation.imports.money import Money
from segmentation.imports.normalise import ERASED, Normaliser
from segmentation.imports.plan import Plan, Request
from segmentation.imports.problems import ImportProblem
from segmentation.imports.report import ImportReport
from segmentation.imports.staging import Staging
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, EventSource, ImportRun, Shop
from segmentation.upkeep import Upkeep

ROWS_A_CHUNK = 50_000
RENEW_SECONDS = 1.0
RETRY_AFTER = timedelta(seconds=15)
# More customers than this wait for the next classification run instead of being rescored one by one.
MOST_DUE = 1_000
_READING_SHARE = 0.3

OnProgress = Callable[[float, str], None]  # (share done from 0 to 1, what is being done)


def run(request: Request, *, on_progress: OnProgress | None = None, requested_by: Any = None) -> ImportReport:
    """Import a file now. Raises ImportProblem before anything is written when it cannot be read at all."""
    prepared = plan.prepare(request, shop=Shop.get())
    row = _new_row(request, prepared, requested_by, plan.digest(request.path))
    claimed = leases.claim(ImportRun.objects.filter(pk=row.pk))
    return _perform(claimed[0], prepared, on_progress)


def request_run(
    request: Request, *, requested_by: Any = None, inside: Callable[[ImportRun], None] | None = None
) -> ImportRun:
    """Check a file and queue it for a worker. Raises ImportProblem. inside: called before the commit."""
    prepared = plan.prepare(request, shop=Shop.get())
    sha256 = plan.digest(request.path)
    with transaction.atomic():
        row = _new_row(request, prepared, requested_by, sha256)
        if inside is not None:
            inside(row)
        enqueue(Job.IMPORT_FILE, import_run_id=row.pk)
    return row


def request_cancel(run: ImportRun, by: Any = None) -> bool:
    """Stop a waiting import at once and ask a running one to stop; what it stored stays. False when it is over already."""
    with transaction.atomic():
        asked = leases.ask_to_stop(run)
        if asked:
            AuditEntry.record("import.cancel", run, actor=by)
    run.refresh_from_db()
    return asked


def work(import_run_id: int) -> ImportReport | None:
    """A worker's import: claim the row and carry it out; None when somebody else has it or it is over.

    A file that cannot be read is told on the row. An import that was cut off is done again from its
    beginning: what it stored is known, so nothing doubles.
    """
    claimed = leases.claim(ImportRun.objects.filter(pk=import_run_id))
    if not claimed:
        return None
    row = claimed[0]
    try:
        # Fetching a large upload may outlast the claim.
        with leases.kept([row]):
            prepared = plan.prepare(Request.from_json(row.kind, row.mapping), shop=Shop.get())
    except ImportProblem as problem:
        leases.fail(row, str(problem))
        return None
    try:
        return _perform(row, prepared, None, is_job=True)
    except (ImportProblem, leases.Cancelled):
        return None  # told on the row


@dataclass
class _Journal:
    """Keeps the row's lease, progress and counts up to date, and the caller's progress bar."""

    row: ImportRun
    report: ImportReport
    on_progress: OnProgress | None
    told_at: float = 0.0

    def tell(self, share: float, doing: str) -> None:
        """Raises leases.Cancelled or leases.LeaseLost."""
        if self.on_progress is not None:
            self.on_progress(share, doing)
        now = time.monotonic()
        if now - self.told_at >= RENEW_SECONDS:
            self.told_at = now
            leases.renew(self.row, progress=share, note=doing)

    def counts(self) -> dict[str, Any]:
        report = self.report
        return {
            "rows_read": report.rows_read,
            "rows_imported": report.rows_imported,
            "rows_repeated": report.rows_repeated,
            "rows_skipped": report.rows_skipped,
            "rows_erased": report.skipped.get(ERASED, 0),
            "rows_rejected": report.rows_rejected,
            "events_created": report.events_created,
            "customers_created": report.customers_created,
            "rejects_file": stored_files.reference(report.rejects_file) if report.rejects_file else "",
        }


def _perform(
    row: ImportRun, prepared: Plan, on_progress: OnProgress | None, *, is_job: bool = False
) -> ImportReport:
    started = time.perf_counter()
    report = ImportReport(file=row.file_name, run_id=row.pk)
    journal = _Journal(row, report, on_progress)
    target = rejects.RejectsFile(prepared.request.rejects or plan.default_rejects(row))
    with _ended(journal, is_job=is_job), leases.kept([row]):
        try:
            if prepared.events is not None:
                _import_events(prepared, journal, target, timezone.now())
            else:
                _import_customers(prepared, journal, target)
        finally:
            target.close()
            report.rows_rejected = target.count
            report.reject_reasons = target.reasons
            report.rejects_file = target.path if target.count else None
            _keep_rejects(prepared, report)
            report.seconds = time.perf_counter() - started
        if report.rows_read == 0:
            raise ImportProblem(_("%(file)s has column headings but no lines.") % {"file": row.file_name})
        if report.nothing_usable:
            raise ImportProblem(
                _(
                    "Not one of the %(count)d lines of %(file)s could be imported. %(reasons)s "
                    "Correct the mapping or the file."
                )
                % {
                    "count": report.rows_read,
                    "file": row.file_name,
                    "reasons": " ".join(report.reject_reasons),
                }
            )
    if on_progress is not None:
        on_progress(1.0, _("done"))
    return report


@contextmanager
def _ended(journal: _Journal, *, is_job: bool) -> Iterator[None]:
    """The row says how it ended, whatever happens. A job waits for a database or a disk that comes back."""
    try:
        yield
    except leases.LeaseLost:
        raise
    except (OperationalError, InterfaceError) as error:
        if is_job:
            leases.try_later(journal.row, error, after=RETRY_AFTER, told=str(error))
        else:
            leases.fail(journal.row, str(error), **journal.counts())
        raise
    except (leases.Cancelled, KeyboardInterrupt):
        leases.cancel(journal.row, **journal.counts())
        raise
    except Exception as error:
        leases.fail(journal.row, str(error) or type(error).__name__, **journal.counts())
        raise
    leases.finish(journal.row, **journal.counts())


def _import_events(
    prepared: Plan, journal: _Journal, target: rejects.RejectsFile, received_at: datetime
) -> None:
    with tempfile.TemporaryDirectory(prefix="tierwise-import-") as folder:
        staging = Staging(Path(folder), estimated_rows=prepared.table.estimated_rows)
        try:
            _stage(prepared, staging, journal, target, received_at)
        finally:
            staging.close()
        journal.tell(_READING_SHARE, _("storing products"))
        loader = event_loader.EventLoader(
            source=_source(prepared),
            namespace=prepared.namespace,
            received_at=received_at,
            versioned="version" in prepared.columns,
            marks_due=staging.customers <= MOST_DUE,
            products=event_loader.store_products(staging.products()),
        )
        journal.report.customers_touched = staging.customers
        done, upkeep = 0, Upkeep(event_loader.TABLES)
        for lines in staging.read():
            for loaded in loader.load(lines):
                _count(journal.report, loaded, target)
                upkeep.changed(loaded.lines)
                done += loaded.lines + loaded.repeated_lines + loaded.erased_lines + len(loaded.rejects)
                share = _READING_SHARE + (1 - _READING_SHARE) * done / max(staging.lines, 1)
                journal.tell(share, _("storing events"))
        upkeep.end()


def _stage(
    prepared: Plan, staging: Staging, journal: _Journal, target: rejects.RejectsFile, received_at: datetime
) -> None:
    shop = Shop.get()
    assert prepared.events is not None
    normalise = Normaliser(
        prepared.events,
        prepared.columns,
        Money.of(shop),
        received_at=received_at,
        frozen=shop.frozen_on is not None,
        join_guests=shop.join_guests_by_email and "email" in prepared.columns,
    )
    for chunk in prepared.table.chunks(ROWS_A_CHUNK):
        good = normalise(chunk.frame)
        staging.add(good.lines)
        target.add(chunk.rejects)
        target.add(rejects.of_frame(good.rejected, chunk.frame))
        journal.report.rows_read += len(chunk.frame) + len(chunk.rejects)
        for cause, count in good.skipped.group_by("skip").len().iter_rows():
            journal.report.skip(cause, count)
        journal.tell(_READING_SHARE * chunk.done, _("reading lines"))


def _import_customers(prepared: Plan, journal: _Journal, target: rejects.RejectsFile) -> None:
    """What has no date counts from when the file was handed in: it must not overrule what came while it waited."""
    loader = customer_loader.CustomerLoader.of(
        prepared, source=_source(prepared), received_at=journal.row.created_at
    )
    upkeep = Upkeep(customer_loader.TABLES)
    for chunk in prepared.table.chunks(customer_loader.ROWS_A_CHUNK):
        journal.report.rows_read += len(chunk.frame) + len(chunk.rejects)
        target.add(chunk.rejects)
        for loaded in loader.load(chunk.frame):
            _count(journal.report, loaded, target)
            upkeep.changed(loaded.lines)
            journal.report.customers_touched += loaded.lines
            journal.tell(chunk.done, _("storing customers"))
    upkeep.end()


def _count(report: ImportReport, loaded: event_loader.Loaded, target: rejects.RejectsFile) -> None:
    report.rows_imported += loaded.lines
    report.rows_repeated += loaded.repeated_lines
    report.skip(ERASED, loaded.erased_lines)
    report.events_created += loaded.events
    report.customers_created += loaded.customers_created
    target.add(loaded.rejects)


def _source(prepared: Plan) -> EventSource:
    return EventSource.objects.get_or_create(slug=prepared.source)[0]


def _keep_rejects(prepared: Plan, report: ImportReport) -> None:
    """Where the list was not asked for at a place, staff get it from the console, on whatever machine that runs."""
    if report.rejects_file is not None and prepared.request.rejects is None:
        stored_files.keep(report.rejects_file)


def _new_row(request: Request, prepared: Plan, requested_by: Any, sha256: str) -> ImportRun:
    return ImportRun.objects.create(
        kind=request.kind,
        file_name=request.path.name[:300],
        file_sha256=sha256,
        mapping=request.as_json(),
        source=_source(prepared),
        requested_by=requested_by if getattr(requested_by, "is_authenticated", False) else None,
    )
