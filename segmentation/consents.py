"""What customers agreed to or refused. The newest answer counts; refusals win ties and merges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import numpy as np
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
GRANTED, DENIED = str(Consent.Status.GRANTED), str(Consent.Status.DENIED)
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
    known = _newest(select(sorted(set(customer_ids))), at=at)
    return {(key, purpose): DENIED if denied else GRANTED for key, purpose, denied in known.iter_rows()}


def alone(customer_ids: Iterable[int]) -> Answers:
    """As `current` for a handful of customers, each by themselves: merges are left aside."""
    rows = Consent.objects.filter(customer__in=list(customer_ids))
    newest: dict[tuple[int, str], tuple[datetime, bool]] = {}
    for key, purpose, at, status in rows.values_list("customer_id", "purpose", "decided_at", "status"):
        answer = (at, status == Consent.Status.DENIED)
        newest[key, purpose] = max(answer, newest.get((key, purpose), answer))
    return {
        name: str(Consent.Status.DENIED if denied else Consent.Status.GRANTED)
        for name, (_at, denied) in newest.items()
    }


@stage("read")
def answers_of(customer_ids: pl.Series, selection: Selection | None = None) -> list[pl.Series]:
    """consent.marketing and consent.profiling of these customers, in their order. selection: theirs, where known."""
    known = _newest(selection or select(customer_ids.to_list()), at=None)
    return [
        _answers(known.filter(pl.col("purpose") == purpose), customer_ids).alias(f"consent.{purpose}")
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


def _answers(known: pl.DataFrame, ids: pl.Series) -> pl.Series:
    """What each of these customers said, from the answers to one purpose."""
    if known.is_empty():
        return pl.repeat(UNKNOWN, len(ids), dtype=pl.String, eager=True)
    words = pl.Series([UNKNOWN, GRANTED, DENIED])
    owner, asked = known["customer_id"].to_numpy(), ids.to_numpy()
    place = np.minimum(np.searchsorted(owner, asked), len(owner) - 1)
    return words.gather(np.where(owner[place] == asked, 1 + known["denied"].to_numpy()[place], 0))


def _newest(selection: Selection, *, at: datetime | None) -> pl.DataFrame:
    """customer_id, purpose, denied: the newest answer of each, by purpose and customer.

    Of one moment's answers the refusal wins; one refusal among those merged into a customer refuses for all.
    """
    newest = _last_of_each(_told(selection, at), "decided_at")
    if selection.absorbed:
        newest = newest.with_columns(pl.col("customer_id").replace(selection.absorbed))
        newest = _last_of_each(newest)
    return newest.select("customer_id", "purpose", "denied")


def _last_of_each(told: pl.DataFrame, *order: str) -> pl.DataFrame:
    """The last row of each purpose and customer; a refusal comes after consent."""
    rows = told.sort("purpose", "customer_id", *order, "denied")
    if rows.height < 2:
        return rows
    here, following = rows[:-1], rows[1:]
    goes_on = (here["customer_id"] == following["customer_id"]) & (here["purpose"] == following["purpose"])
    return rows.filter(pl.concat([~goes_on, pl.Series([True])]))


def _told(selection: Selection, at: datetime | None) -> pl.DataFrame:
    """customer_id, purpose, decided_at and denied of every answer from before the instant."""
    before = "decided_at < %s" if at is not None else "TRUE"
    end = [] if at is None else [connection.ops.adapt_datetimefield_value(at)]
    table = connection.ops.quote_name(Consent._meta.db_table)
    parts = []
    for part in selection.parts():
        where, values = within("customer_id", part)
        parts.append(columns.read(FIELDS, f"FROM {table} WHERE {where} AND {before}", [*values, *end]))
    told = columns.together(FIELDS, parts).with_columns(denied=pl.col("status") == DENIED)
    return told.filter(~pl.col("customer_id").is_in(sorted(selection.hidden))) if selection.hidden else told
