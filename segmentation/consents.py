"""What customers agreed to or refused. The newest answer counts; refusals win ties and merges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import polars as pl
from django.db import connection

from segmentation import bulk, columns
from segmentation.batches import batches
from segmentation.columns import Field
from segmentation.features.selection import Selection, select, within
from segmentation.models import Consent, Customer, Shop
from segmentation.models.shop import ProfilingBasis
from segmentation.normal import NormalConsent
from segmentation.stages import stage

Answers = dict[tuple[int, str], str]
_ANSWER = {
    "customer_id": pl.Int64(), "purpose": pl.String(), "decided_at": pl.Datetime("us", "UTC"),
    "status": pl.String(), "source": pl.String(),
}  # fmt: skip
UNKNOWN = "unknown"
_SAID = ("customer_id", "purpose", "status")
FIELDS = (
    Field("customer_id", "int8"),
    Field("purpose", "text"),
    Field("status", "text"),
    Field("decided_at", "timestamptz"),
)


def record(answers: Mapping[int, Iterable[NormalConsent]], *, source: str) -> set[int]:
    """Store answers by customer id; returns the customers with something new. Needs a transaction."""
    rows = {
        (customer_id, answer.purpose, answer.decided_at): answer.status
        for customer_id, given in answers.items()
        for answer in sorted(given, key=lambda answer: answer.status == Consent.Status.DENIED)
    }
    known = _known(sorted(answers))
    fresh = {key: status for key, status in rows.items() if key not in known}
    told = pl.DataFrame(
        [(*key, status, source[:64]) for key, status in fresh.items()], schema=_ANSWER, orient="row"
    )
    bulk.insert(Consent, told.columns, told, on_conflict="ignore")
    stricter = {
        key
        for key, status in rows.items()
        if status == Consent.Status.DENIED and known.get(key) == Consent.Status.GRANTED
    }
    for customer_id, purpose, decided_at in stricter:
        Consent.objects.filter(customer_id=customer_id, purpose=purpose, decided_at=decided_at).update(
            status=Consent.Status.DENIED, source=source[:64]
        )
    changed = [*fresh, *stricter]
    refresh_profiled(key for key, purpose, _at in changed if purpose == Consent.Purpose.PROFILING)
    return {key for key, _purpose, _at in changed}


def current(customer_ids: Iterable[int], *, at: datetime | None = None) -> Answers:
    """(customer id, purpose) → "granted" or "denied" as known before `at`; no entry where nobody answered.

    Customers merged into one of these count for it, and one refusal among them refuses for all.
    """
    return _newest(select(sorted(set(customer_ids))), at=at)


@stage("read")
def answers_of(customer_ids: pl.Series, selection: Selection | None = None) -> list[pl.Series]:
    """consent.marketing and consent.profiling of these customers, in their order. selection: theirs, where known."""
    ids = customer_ids.to_list()
    known = _newest(selection or select(ids), at=None)
    return [
        pl.Series(f"consent.{purpose}", [known.get((key, purpose), UNKNOWN) for key in ids], dtype=pl.String)
        for purpose in Consent.Purpose.values
    ]


def refresh_profiled(customer_ids: Iterable[int]) -> None:
    """Set Customer.is_profiled from the shop's basis and the answers: a refusal always excludes."""
    ids = sorted(set(customer_ids))
    if not ids:
        return
    answers = current(ids)
    unknown = profiled_by_default()
    excluded = {
        key for key in ids if not _may_profile(answers.get((key, Consent.Purpose.PROFILING)), unknown=unknown)
    }
    for part in batches(sorted(excluded)):
        Customer.objects.filter(pk__in=part, is_profiled=True).update(is_profiled=False)
    for part in batches(sorted(set(ids) - excluded)):
        Customer.objects.filter(pk__in=part, is_profiled=False).update(is_profiled=True)


def profiled_by_default() -> bool:
    """Whether somebody who never answered is profiled."""
    return Shop.get().profiling_basis != ProfilingBasis.CONSENT


def _may_profile(answer: str | None, *, unknown: bool) -> bool:
    return unknown if answer is None else answer == Consent.Status.GRANTED


def _known(customer_ids: list[int]) -> dict[tuple[int, str, datetime], str]:
    rows = bulk.values_in(
        Consent.objects.all(), customer_ids, "customer_id", "purpose", "decided_at", "status"
    )
    return {(customer_id, purpose, decided_at): status for customer_id, purpose, decided_at, status in rows}


def _newest(selection: Selection, *, at: datetime | None) -> Answers:
    """Newest answers by customer and purpose; one refusal among those merged into a customer refuses for all."""
    newest: dict[tuple[int, str], tuple[int, bool]] = {}
    for key, purpose, status, moment in _told(selection, at):
        # Of one moment's answers the refusal wins, as the greater of the two.
        answer = (moment, status == Consent.Status.DENIED)
        newest[key, purpose] = max(answer, newest.get((key, purpose), answer))
    found: dict[tuple[int, str], bool] = {}
    for (key, purpose), (_moment, denied) in newest.items():
        owner = (selection.absorbed.get(key, key), purpose)
        found[owner] = found.get(owner, False) or denied
    return {
        key: str(Consent.Status.DENIED if denied else Consent.Status.GRANTED) for key, denied in found.items()
    }


def _told(selection: Selection, at: datetime | None) -> Iterator[tuple[int, str, str, int]]:
    """Customer, purpose, status and moment in microseconds of every answer from before the instant."""
    before = "decided_at < %s" if at is not None else "TRUE"
    end = [] if at is None else [connection.ops.adapt_datetimefield_value(at)]
    table = connection.ops.quote_name(Consent._meta.db_table)
    for part in selection.parts():
        where, values = within("customer_id", part)
        rows = columns.read(FIELDS, f"FROM {table} WHERE {where} AND {before}", [*values, *end])
        moments = rows["decided_at"].to_physical().to_list()
        told = zip(*(rows[name].to_list() for name in _SAID), moments, strict=True)
        yield from (row for row in told if row[0] not in selection.hidden)
