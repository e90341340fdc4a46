"""Jobs by message: what staff start with a button, a connection may start with an event, and is told how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import orjson
import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm_integration.models import Connection, InboundMessage, JobRequest, OutboundMessage
from segmentation import leases, scoring_runs, targets, training_runs
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, LeaseState, ScoringRun, TrainingRun

log = structlog.get_logger(__name__)

Kind = JobRequest.Kind
Outcome = InboundMessage.Outcome
TRAIN_TOPIC = "train.requested"
CLASSIFY_TOPIC = "classify.requested"
# The shop's own load of data is complete: everybody is classified, unless `data.then` says "train".
IMPORTED_TOPIC = "import.finished"
TOPICS = (TRAIN_TOPIC, CLASSIFY_TOPIC, IMPORTED_TOPIC)
FINISHED_TOPIC = "job.finished"
REFUSED = "refused"
MAX_TARGETS = 50
MAX_SEED = 2**31 - 1
_OVER = frozenset({LeaseState.DONE.value, LeaseState.FAILED.value, LeaseState.CANCELLED.value})


class NotStarted(Exception):
    """The job cannot be started; the text is told to staff and to the connection."""


@dataclass(frozen=True)
class Asked:
    """What a message asks for. `options` is its `data`; a sender's own topic brings none.

    `is_signed` False: the topic is not, so whoever holds one message of the sender could send it again as another.
    """

    kind: Kind
    topic: str
    options: Mapping[str, Any]
    is_signed: bool = True


def asked(connection: Connection, topic: str, body: bytes, *, is_signed: bool) -> Asked | None:
    """The job that a message of this topic asks for, or None when it is about something else.

    is_signed: whether the topic is. Our own names count only then; a vendor that signs no topics has none of them.
    """
    is_ours = is_signed and topic in TOPICS
    meaning = topic if is_ours else _mapped(connection, topic)
    if meaning is None:
        return None
    options = _options(body) if is_ours else {}
    trains = meaning == TRAIN_TOPIC or (meaning == IMPORTED_TOPIC and options.get("then") == Kind.TRAIN.value)
    return Asked(Kind.TRAIN if trains else Kind.CLASSIFY, topic, options, is_signed)


def start(message: InboundMessage, job: Asked) -> None:
    """Start the job once for this message and end the message; a refusal ends it too, and is told outward.

    Call it under the message's lease, outside of any transaction. Raises leases.LeaseLost.
    """
    if JobRequest.objects.filter(message=message, error="").exists():
        # Started before: its worker died before it could say so, or staff process the message again.
        _end(message, job, Outcome.JOB_STARTED)
        return
    if not job.is_signed and _has_started_one(message):
        _end(message, job, Outcome.NOTHING_NEW)
        return
    try:
        _start(message, job)
    except (
        NotStarted,
        training_runs.TrainingError,
        scoring_runs.ScoringError,
        targets.TargetError,
    ) as problem:
        _refuse(message, job, str(problem))
        return
    _end(message, job, Outcome.JOB_STARTED)


def tell_finished() -> int:
    """Stage `job.finished` for requested jobs whose run is over; returns how many. Safe to call at any time."""
    told = 0
    open_requests = JobRequest.objects.filter(told_at__isnull=True)
    for request in open_requests.select_related("connection", "training_run", "scoring_run"):
        run = request.training_run or request.scoring_run
        if run is None or run.state in _OVER:
            told += _tell(request, run)
    return told


def _mapped(connection: Connection, topic: str) -> str | None:
    """What one of the sender's own topics means, by the connection's settings."""
    meaning = connection.job_topics.get(topic) if isinstance(connection.job_topics, dict) else None
    return meaning if meaning in TOPICS else None


def _has_started_one(message: InboundMessage) -> bool:
    """Whether the same body asked for a job before, under another topic or id."""
    same = JobRequest.objects.filter(
        connection=message.connection_id, message__body_sha256=message.body_sha256
    )
    return same.exclude(message=message).exists()


def _options(body: bytes) -> Mapping[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    data = content.get("data") if isinstance(content, dict) else None
    return data if isinstance(data, dict) else {}


def _start(message: InboundMessage, job: Asked) -> None:
    if not message.connection.may_start_jobs:
        raise NotStarted(_("This connection may not start jobs; staff can allow it on its page."))
    if job.kind == Kind.TRAIN:
        training_runs.request(
            targets.active(_target_slugs(job.options)),
            preset=_preset(job.options),
            seed=_seed(job.options),
            inside=lambda run: _link(message, job, training_run=run),
        )
        return
    scoring_runs.start(inside=lambda run: _link(message, job, scoring_run=run))


def _link(
    message: InboundMessage,
    job: Asked,
    *,
    training_run: TrainingRun | None = None,
    scoring_run: ScoringRun | None = None,
) -> None:
    """The request and the run in one transaction: a message that comes again finds what it started."""
    with transaction.atomic():
        leases.guard(message)
        request = _new(message, job)
        request.training_run, request.scoring_run = training_run, scoring_run
        request.save()
        AuditEntry.record(
            "job.started_by_message", message.connection, job=job.kind.value, message=message.pk
        )


def _refuse(message: InboundMessage, job: Asked, reason: str) -> None:
    with transaction.atomic():
        _end(message, job, Outcome.JOB_REFUSED, error=reason)
        request = _new(message, job)
        request.error = reason
        request.save()
        _tell(request, None)


def _new(message: InboundMessage, job: Asked) -> JobRequest:
    """A fresh request; it takes the place of one that was refused, when staff process the message again."""
    JobRequest.objects.filter(message=message).delete()
    return JobRequest(
        connection=message.connection,
        message=message,
        asked_by=message.dedupe_key,
        topic=job.topic[:100],
        kind=job.kind,
    )


def _end(message: InboundMessage, job: Asked, outcome: str, *, error: str = "") -> None:
    leases.finish(message, topic=job.topic[:100], outcome=outcome, detail={}, error=error)


def _tell(request: JobRequest, run: TrainingRun | ScoringRun | None) -> bool:
    """Mark it told and stage the message, in one transaction; False when another worker was quicker."""
    with transaction.atomic():
        untold = JobRequest.objects.filter(pk=request.pk, told_at__isnull=True)
        if not untold.update(told_at=timezone.now()):
            return False
        connection = request.connection
        if not (connection.is_active and connection.sends_outbound):
            return True
        OutboundMessage.objects.create(
            connection=connection,
            message_id=f"job_{request.pk}",
            topic=FINISHED_TOPIC,
            body=_body(request, run),
        )
        enqueue(Job.DELIVER)
    return True


def _body(request: JobRequest, run: TrainingRun | ScoringRun | None) -> bytes:
    data = {
        "job": request.kind,
        "requested_by": request.asked_by,
        "id": run.pk if run is not None else None,
        "state": str(run.state) if run is not None else REFUSED,
        "reason": (run.error if run is not None else request.error) or None,
        "figures": _figures(run),
    }
    if run is None and not request.error:
        data |= {"state": LeaseState.FAILED.value, "reason": _("The run is no longer there.")}
    at = timezone.now().astimezone(UTC).isoformat()
    return orjson.dumps({"type": FINISHED_TOPIC, "timestamp": at, "data": data})


def _figures(run: TrainingRun | ScoringRun | None) -> Mapping[str, Any]:
    if isinstance(run, ScoringRun):
        return run.summary
    if run is None:
        return {}
    return {
        "versions": [
            {
                "number": version.number,
                "algorithm": version.algorithm,
                "targets": [target.slug for target in version.targets.all()],
                "is_champion": version.champion_of.exists(),
            }
            for version in run.versions.order_by("number").prefetch_related("targets")
        ]
    }


def _target_slugs(options: Mapping[str, Any]) -> list[str] | None:
    """The targets by their short names; None, all that are active, where none is named."""
    slugs = options.get("targets")
    if slugs is None:
        targets.install()
        return None
    if (
        not isinstance(slugs, list)
        or len(slugs) > MAX_TARGETS
        or not all(isinstance(one, str) for one in slugs)
    ):
        raise NotStarted(_("“targets” must be a list of short names."))
    return slugs


def _preset(options: Mapping[str, Any]) -> str:
    preset = options.get("preset", "default")
    if not isinstance(preset, str):
        raise NotStarted(_("“preset” must be text."))
    return preset


def _seed(options: Mapping[str, Any]) -> int:
    seed = options.get("seed", 1)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise NotStarted(_("“seed” must be a whole number from 0 to %(most)d.") % {"most": MAX_SEED})
    return seed
