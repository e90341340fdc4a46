"""Requests of people about their data: taken at any door, worked by a job, answered within their time."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any

import orjson
import structlog
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import alerts, crypto, leases, reasons, tombstones
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, Customer, LeaseState, PrivacyRequest, Shop
from segmentation.privacy import erasing, exporting, sources, versions
from segmentation.privacy.rows import Grown
from segmentation.privacy.subjects import Asked, Subject, cluster, gather, of_customers, people_of

log = structlog.get_logger(__name__)
Kind = PrivacyRequest.Kind
MAX_ATTEMPTS = 10
RETRY_AFTER = timedelta(seconds=30)
# People are merged and split by hand: more rounds than this are no coincidence.
MOST_ROUNDS = 5
# A worker that erases everybody of a source lets others have their turn after this.
WORK_SECONDS = 240.0
# As long as the request may take to be answered.
RESULT_DAYS = 30
OVERDUE = "privacy.overdue"


class NotAsked(ValueError):
    """A request that names nobody, or that cannot be worked again; the message says why."""


def request(
    kind: str,
    namespace: str,
    identity: str,
    email: str | None = None,
    *,
    source: str,
    requested_by: Any = None,
    reason: str = "",
) -> PrivacyRequest:
    """Take a request by an id of a source (`namespace`: the connection's slug, or identities.SHOP) or an e-mail.

    Good for people who are not known here too: an erasure then leaves its tombstone, and both have an answer. Asking
    again while it is open gives the open request. The work is done by a job; may be called in a transaction.
    Raises NotAsked.
    """
    return _take(
        kind, Asked(namespace, identity, email or ""), source=source, requested_by=requested_by, reason=reason
    )


def request_for(
    customer: Customer, kind: str, *, source: str, requested_by: Any = None, reason: str = ""
) -> PrivacyRequest:
    """Take a request about a customer, with everybody merged with them."""
    asked = Asked(customer_id=customer.pk)
    return _take(kind, asked, source=source, requested_by=requested_by, reason=reason)


def request_from(
    namespace: str, slug: str, *, source: str, requested_by: Any = None, reason: str = ""
) -> PrivacyRequest:
    """Take a request to erase everybody who is known by the ids of `namespace` and the events of `slug` alone.

    Who is known from elsewhere too is kept, and told in the answer with the reason.
    """
    asked = Asked(namespace, source=slug)
    return _take(Kind.ERASE_FROM, asked, source=source, requested_by=requested_by, reason=reason)


def erase(
    customer: Customer, requested_by: Any = None, reason: str = "", *, source: str = "code"
) -> PrivacyRequest:
    """Erase a customer now, without waiting for a worker; call it outside any transaction.

    When a worker has the same request already, it is left to it: look at the state.
    """
    row = request_for(customer, Kind.ERASE, source=source, requested_by=requested_by, reason=reason)
    work(row.pk)
    row.refresh_from_db()
    return row


def work(request_id: int) -> None:
    """Claim a request and answer it; nothing when it is over or somebody else has it."""
    for row in leases.claim(PrivacyRequest.objects.filter(pk=request_id), max_attempts=MAX_ATTEMPTS):
        try:
            with leases.kept([row]):
                WORK[Kind(row.kind)](row)
        except leases.LeaseLost:
            log.info("privacy.lease_lost", request=row.pk)
        except Exception as error:
            # Its text may name the person; the log has the kind and the place.
            place = (Exception, Exception(type(error).__name__), error.__traceback__)
            log.warning("privacy.failed", request=row.pk, exc_info=place)
            _try_later(row, error)


def answer(row: PrivacyRequest) -> bytes | None:
    """The document that answers a request for data, as JSON; None when it is not there (yet, or any more)."""
    return gzip.decompress(crypto.decrypt(bytes(row.result))) if row.result is not None else None


def again(row: PrivacyRequest, *, actor: Any = None) -> None:
    """Work a failed request again. Raises NotAsked."""
    try:
        with transaction.atomic():
            if row.state != LeaseState.FAILED or not leases.start_over(row):
                raise NotAsked(_("The request has not failed."))
            AuditEntry.record("privacy.again", row, actor=actor)
            enqueue(Job.PRIVACY, request_id=row.pk)
    except IntegrityError as error:
        raise NotAsked(_("A newer request about this person is open.")) from error


def lift(namespace: str, identity: str, email: str | None = None, *, actor: Any = None) -> int:
    """Let somebody who was erased and came back be stored again; returns how many marks were lifted."""
    with transaction.atomic():
        count = tombstones.lift([(namespace, identity)] if identity else [], [email] if email else [])
        AuditEntry.record("privacy.lifted", actor=actor, marks=count)
    return count


def open_requests() -> QuerySet[PrivacyRequest]:
    return PrivacyRequest.objects.exclude(state__in=[LeaseState.DONE, LeaseState.CANCELLED])


def review() -> None:
    """Once a day: alerts for what is late, and answers that were kept long enough go."""
    now = timezone.now()
    versions.review(Shop.get().today(now))
    late = open_requests().filter(due_at__lt=now).count()
    if late:
        message = _("%(count)d privacy requests are past their date.") % {"count": late}
        alerts.raise_once(OVERDUE, message)
    else:
        alerts.resolve(OVERDUE)
    old = PrivacyRequest.objects.filter(result__isnull=False)
    old.filter(finished_at__lt=Now() - timedelta(days=RESULT_DAYS)).update(result=None)


def _take(kind: str, asked: Asked, *, source: str, requested_by: Any, reason: str) -> PrivacyRequest:
    if not (asked.identity or asked.email.strip() or asked.customer_id or asked.source):
        raise NotAsked(_("The request names nobody: give an id or an e-mail."))
    people = people_of(asked)
    key = Asked(customer_id=people[0]).key if people else asked.key
    try:
        with transaction.atomic():
            row = PrivacyRequest.objects.create(
                kind=Kind(kind),
                source=source[:64],
                subject=_sealed(asked, gather(asked)),
                subject_key=key,
                customers=people,
                requested_by=requested_by if getattr(requested_by, "is_authenticated", False) else None,
                reason=reason[:300],
            )
            AuditEntry.record(
                f"privacy.{row.kind}", row, actor=requested_by, customers=people, source=source[:64]
            )
            enqueue(Job.PRIVACY, request_id=row.pk)
            return row
    except IntegrityError:
        same = PrivacyRequest.objects.filter(kind=kind, subject_key=key)
        waiting = same.filter(state__in=[LeaseState.QUEUED, LeaseState.RUNNING]).first()
        # None: it was answered at this very moment, so this is a new one.
        return waiting or _take(kind, asked, source=source, requested_by=requested_by, reason=reason)


def _sealed(asked: Asked, subject: Subject) -> str:
    return orjson.dumps({"asked": asked, "subject": subject}).decode()


def _opened(row: PrivacyRequest) -> tuple[Asked, Subject]:
    content = orjson.loads(row.subject)
    return Asked(**content["asked"]), Subject.from_json(content["subject"])


def _known(row: PrivacyRequest) -> tuple[Asked, Subject]:
    """Whom the request is about, with everything learned since it was taken, kept for the next attempt."""
    asked, subject = _opened(row)
    # Of a source: whoever was merged with somebody known from elsewhere meanwhile does not draw them in.
    people = subject.customers if asked.source else cluster(subject.customers)
    found = subject.joined(gather(asked)).joined(of_customers(people))
    if found != subject:
        _keep(row, asked, found)
    return asked, found


def _keep(row: PrivacyRequest, asked: Asked, subject: Subject) -> None:
    row.subject = _sealed(asked, subject)
    row.customers = list(subject.customers)
    _save(row, "subject", "customers")


def _export(row: PrivacyRequest) -> None:
    _asked, subject = _known(row)
    _explain(subject)
    document = exporting.export_of(subject)
    with transaction.atomic():
        leases.guard(row)
        leases.finish(
            row,
            subject="",
            is_held=document["held"],
            result=_packed(document),
            counts={"people": len(document["people"])},
        )
        AuditEntry.record("privacy.answered", row, customers=list(subject.customers))


def _packed(document: Mapping[str, Any]) -> bytes:
    return crypto.encrypt(gzip.compress(orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2)))


def _explain(subject: Subject) -> None:
    """Reasons of scores that nobody has looked at yet."""
    for key in subject.customers:
        try:
            reasons.explain(key)
        except Exception as error:
            # A model that cannot be read must not keep somebody from what is held about them.
            log.warning("privacy.not_explained", customer=key, error=type(error).__name__)


def _erase(row: PrivacyRequest) -> None:
    _finish(row, _erased(row))


def _erased(row: PrivacyRequest) -> Subject:
    """Whom the row is about now, once nothing of them is left."""
    for _round in range(MOST_ROUNDS):
        subject = _kept_away(row)
        _note_versions(row, subject)
        try:
            erasing.erase(subject, request=row, journal=_Journal(row))
        except Grown:
            continue
        return subject
    raise Grown


def _erase_from(row: PrivacyRequest) -> None:
    """Some people at a time. Who is erased is not found again, so whoever goes on begins anew with those who are left."""
    asked, begun = _opened(row)
    if begun.customers and not _erase_some(row, asked):
        _go_on_later(row)
        return
    kept: dict[str, set[int]] = defaultdict(set)
    until = None
    for judged in sources.people(asked.namespace, asked.source):
        for customer_id, reason in judged.kept.items():
            kept[str(reason)].add(customer_id)
        if not judged.alone:
            continue
        # From the first who goes on: however long the way to them was, every turn gets somewhere.
        until = until or monotonic() + WORK_SECONDS
        _keep(row, asked, of_customers(judged.alone))
        if not _erase_some(row, asked) or monotonic() >= until:
            _go_on_later(row)
            return
    _finish_from(row, kept)


def _erase_some(row: PrivacyRequest, asked: Asked) -> bool:
    """Those that the row names now; False when somebody was merged with one of them, so that they are judged anew."""
    try:
        people = list(_erased(row).customers)
    except Grown:
        _keep(row, asked, Subject())
        return False
    AuditEntry.record("privacy.erased", row, customers=people)
    log.info("privacy.erased", request=row.pk, customers=people)
    _keep(row, asked, Subject())
    gone = row.counts.get("customer", 0)
    leases.renew(row, progress=gone / ((gone + sources.count_ids(asked.namespace)) or 1))
    return True


def _go_on_later(row: PrivacyRequest) -> None:
    leases.retry(row, after=timedelta(0), error="", attempts=0)
    enqueue(Job.PRIVACY, request_id=row.pk)


def _finish_from(row: PrivacyRequest, kept: Mapping[str, set[int]]) -> None:
    told = [{"because": reason, "customers": sorted(people)} for reason, people in kept.items()]
    count = sum(map(len, kept.values()))
    counts = {**row.counts, "kept": count}
    with transaction.atomic():
        leases.guard(row)
        result = _packed({"kept": told}) if told else None
        leases.finish(row, subject="", is_held=bool(row.counts), counts=counts, result=result)
        AuditEntry.record("privacy.erased", row, counts=counts)
    alerts.resolve(_alert_key(row))


def _kept_away(row: PrivacyRequest) -> Subject:
    """Whom to erase, once nothing new about them can come in.

    Whoever was storing them when the tombstones were written was waited for, so look again for what they stored.
    """
    _asked, subject = _known(row)
    while True:
        tombstones.write(subject.ids, subject.emails, request=row)
        _asked, found = _known(row)
        if found == subject:
            return subject
        subject = found


@dataclass(frozen=True)
class _Journal:
    """Counts survive a worker that dies half-way."""

    row: PrivacyRequest

    def note(self, doing: str) -> None:
        leases.renew(self.row, note=doing)

    def count(self, gone: Mapping[str, int]) -> None:
        self.row.counts = dict(+(Counter(self.row.counts) + Counter(gone)))
        _save(self.row, "counts")


def _finish(row: PrivacyRequest, subject: Subject) -> None:
    people = list(subject.customers)
    with transaction.atomic():
        leases.guard(row)
        leases.finish(row, subject="", is_held=bool(row.counts))
        AuditEntry.record("privacy.erased", row, customers=people, counts=row.counts)
    alerts.resolve(_alert_key(row))
    # Ids alone: after a restored backup these are erased again (docs/operating.md).
    log.info("privacy.erased", request=row.pk, customers=people)


def _note_versions(row: PrivacyRequest, subject: Subject) -> None:
    """Before the events go: which models may have learned from them, and until when they may serve."""
    shop = Shop.get()
    seen = versions.seen_by(subject.customers)
    row.versions = sorted({*row.versions, *seen.versions})
    row.runs = sorted({*row.runs, *seen.runs})
    row.retrain_by = row.retrain_by or shop.today() + timedelta(days=shop.retrain_after_erasure_days)
    _save(row, "versions", "runs", "retrain_by")


def _save(row: PrivacyRequest, *fields: str) -> None:
    """Raises leases.LeaseLost."""
    with transaction.atomic():
        leases.guard(row)
        row.save(update_fields=fields)


def _try_later(row: PrivacyRequest, error: Exception) -> None:
    try:
        leases.fail_or_retry(row, type(error).__name__, after=RETRY_AFTER, max_attempts=MAX_ATTEMPTS)
    except leases.LeaseLost:
        return
    row.refresh_from_db()
    if row.state == LeaseState.FAILED:
        message = _("Privacy request #%(number)d stopped before it was done. Its page says why.")
        alerts.raise_once(_alert_key(row), message % {"number": row.pk})


WORK: dict[str, Callable[[PrivacyRequest], None]] = {
    Kind.EXPORT: _export,
    Kind.ERASE: _erase,
    Kind.ERASE_FROM: _erase_from,
}


def _alert_key(row: PrivacyRequest) -> str:
    return f"privacy.failed.{row.pk}"
