"""What an open run page asks for every second; small JSON, no rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Count, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation.dashboard import losses, words
from segmentation.models import (
    EvaluationRun,
    ImportRun,
    LeaseState,
    PrivacyRequest,
    ScoringRun,
    ScoringShard,
    TrainingRun,
)
from segmentation.models.leased import Leased


def training(run: TrainingRun) -> dict[str, Any]:
    """Progress, and the losses so far as one chart a learner."""
    return _leased(run) | {"losses": losses.charts(run.epochs), "device": run.device}


def importing(run: ImportRun) -> dict[str, Any]:
    counts = {
        _("lines read"): run.rows_read,
        _("lines kept"): run.rows_imported,
        _("already known"): run.rows_repeated,
        _("lines without a customer"): run.rows_skipped - run.rows_erased,
        **({_("lines of erased people"): run.rows_erased} if run.rows_erased else {}),
        _("lines rejected"): run.rows_rejected,
        _("events"): run.events_created,
        _("new customers"): run.customers_created,
    }
    return _leased(run) | {"counts": [[name, words.number(count)] for name, count in counts.items()]}


def evaluating(run: EvaluationRun) -> dict[str, Any]:
    return _leased(run)


def privacy(row: PrivacyRequest) -> dict[str, Any]:
    return _leased(row)


def scoring(run: ScoringRun) -> dict[str, Any]:
    """Customers scored and shards by state."""
    shards = run.shards.order_by().values("state").annotate(shards=Count("id"), scored=Sum("scored"))
    by_state = {row["state"]: row for row in shards}
    scored = sum(row["scored"] or 0 for row in by_state.values())
    over = run.state != ScoringRun.State.RUNNING
    done = by_state[LeaseState.DONE]["shards"] if LeaseState.DONE in by_state else 0
    total = sum(row["shards"] for row in by_state.values())
    return {
        "state": run.state,
        "state_label": run.get_state_display(),
        "progress": 1.0 if run.state == ScoringRun.State.DONE else _share(scored, run.customers),
        "note": _("%(scored)s of %(customers)s customers, %(done)s of %(total)s parts done")
        % {
            "scored": words.number(scored),
            "customers": words.number(run.customers),
            "done": words.number(done),
            "total": words.number(total),
        },
        "error": run.error or _shard_error(run),
        "took": _took(run.created_at, run.finished_at),
        "over": over,
    }


def _leased(run: Leased) -> dict[str, Any]:
    return {
        "state": run.state,
        "state_label": run.get_state_display(),
        "progress": run.progress,
        "note": _note(run),
        "error": run.error,
        "cancelling": run.cancel_requested and not run.is_over,
        "took": _took(run.started_at, run.finished_at),
        "over": run.is_over,
    }


def _note(run: Leased) -> str:
    """What it is at; the last step of a finished run is no news."""
    if run.state == LeaseState.DONE:
        return ""
    return run.progress_note or (_("waiting for a worker") if run.state == LeaseState.QUEUED else "")


def _shard_error(run: ScoringRun) -> str:
    failed = ScoringShard.objects.filter(run=run).exclude(error="").order_by("-id").first()
    return failed.error if failed else ""


def _share(part: int, whole: int) -> float:
    return min(part / whole, 1.0) if whole else 0.0


def _took(started: datetime | None, finished: datetime | None) -> str:
    """“2 min 5 s”, until now while it runs; a dash before the start."""
    if started is None:
        return words.NOTHING
    seconds = max(0, int(((finished or timezone.now()) - started).total_seconds()))
    return _("%(minutes)s min %(seconds)s s") % {"minutes": seconds // 60, "seconds": seconds % 60}


def duration(run: Leased) -> str:
    return _took(run.started_at, run.finished_at)
