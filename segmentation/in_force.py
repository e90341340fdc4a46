"""What rules and decisions are made of, as it is stored now, and what was worked out from it before.

Reading and parsing all rules takes longer than scoring a customer. One query tells everything that they are made of,
so what was worked out is kept for as long as its answer stays the same: whoever edits a rule or promotes a model, in
whatever process, the next question finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from threading import Lock
from typing import Any, Final, TypeVar

from django.db import connection
from django.db.models import CharField, QuerySet, TextField, Value
from django.db.models.functions import Cast, JSONArray

from segmentation.models import (
    AttributeDefinition,
    Campaign,
    CampaignRule,
    EventSource,
    FrequencyCap,
    Grant,
    HoldoutGroup,
    ModelSlot,
    Offer,
    PolicyVersion,
    PriorityOverride,
    ScoreOverride,
    ScoringRun,
    Segment,
    ServicePriorityRule,
    Shop,
    Suppression,
    Target,
)

Answer = TypeVar("Answer")
# Equal stamps mean that the same is in force.
Stamp = tuple[tuple[str, str], ...]
KEPT: Final = 64
# Columns that scorings themselves keep up to date, or that no scoring reads; nothing here depends on them.
_IGNORED: Final = frozenset({"member_count", "refreshed_at", "challenger"})
# What is told of the rows that a row refers to.
_REFERRED: Final[dict[type[Any], tuple[str, ...]]] = {
    Segment: ("version__rule",),
    ModelSlot: ("champion__artifact_sha256", "champion__catalogue_version", "champion__created_at"),
}
_EXCEPTIONS: Final = frozenset({"suppressed", "overridden", "granted", "said"})
_kept: dict[Hashable, Any] = {}
_held: ContextVar[list[Stamp] | None] = ContextVar("in_force", default=None)
_lock: Final = Lock()


def kept(name: Hashable, work_out: Callable[[], tuple[Answer, bool]]) -> Answer:
    """The answer of this name for what is stored now; worked out when there is none yet.

    work_out: gives the answer and whether it may be kept, which one that complains about what it found may not.
    Answers are shared: nobody changes them.
    """
    before = stamp()
    key = (name, before)
    with _lock:
        if key in _kept:
            found: Answer = _kept[key]
            return found
    answer, may_be_kept = work_out()
    # Somebody may have edited a rule while we read the others.
    if may_be_kept and _asked() == before:
        with _lock:
            _kept[key] = answer
            while len(_kept) > KEPT:
                del _kept[next(iter(_kept))]
    return answer


@contextmanager
def steady() -> Iterator[None]:
    """In this block and thread the database is asked once: a scoring of a moment sees one state of everything.

    For short work only: an edit made meanwhile counts from the next block on.
    """
    if _held.get() is not None:
        yield
        return
    token = _held.set([])
    try:
        yield
    finally:
        _held.reset(token)


def shop() -> Shop:
    """The shop as it is set now."""
    return kept("shop", lambda: (Shop.get(), True))


def exceptions() -> frozenset[str]:
    """What the shop has at all: "suppressed", "overridden", "granted", "said" (a class that staff set)."""
    return frozenset(name for name, found in stamp() if name in _EXCEPTIONS and found)


def stamp() -> Stamp:
    """Differs whenever anything differs that rules, segments, scores or decisions are made of besides customers."""
    held = _held.get()
    if held is None:
        return _asked()
    if not held:
        held.append(_asked())
    return held[0]


def _asked() -> Stamp:
    sql, values = _statement(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return tuple(sorted(cursor.fetchall()))


@lru_cache
def _statement(vendor: str) -> tuple[str, tuple[Any, ...] | None]:
    """The query as text: building it takes longer than asking it. vendor: every database has its own.

    PostgreSQL plans a statement with parameters each time it is asked (config/settings.py), which takes four times as
    long as this one does; without any, its plan is kept for the session.
    """
    first, *others = (_told(rows) for rows in _made_of())
    sql, values = first.union(*others, all=True).query.sql_with_params()
    sql = f"{sql} UNION ALL {_contexts()} UNION ALL {_policies()} UNION ALL {_exceptions()}"
    if vendor != "postgresql":
        return sql, values
    operations: Any = connection.ops
    return operations.compose_sql(sql, values), None


def _contexts() -> str:
    """Changes with every run that gets its shop-wide numbers: single customers are scored with the newest ones."""
    table = connection.ops.quote_name(ScoringRun._meta.db_table)
    said = "count(*) || ' ' || coalesce(max(context_id), 0) || ' ' || max(id) || ' ' || max(created_at)"
    return f"SELECT 'contexts', coalesce({said}, '') FROM {table} WHERE context_id IS NOT NULL"  # noqa: S608


def _policies() -> str:
    """The newest policy that was written down."""
    table = connection.ops.quote_name(PolicyVersion._meta.db_table)
    newest = f"SELECT id || ' ' || created_at FROM {table} ORDER BY id DESC LIMIT 1"  # noqa: S608
    return f"SELECT 'policies', coalesce(({newest}), '')"


def _exceptions() -> str:
    """Whether anybody is suppressed, served by a person's word, or has something that was counted: most shops need not
    ask about each customer."""
    open_ = " WHERE ended_at IS NULL"
    asked = (
        ("suppressed", Suppression, ""),
        ("overridden", PriorityOverride, open_),
        ("granted", Grant, open_),
        ("said", ScoreOverride, open_),
    )
    return " UNION ALL ".join(
        f"SELECT '{name}', CASE WHEN EXISTS (SELECT 1 FROM {connection.ops.quote_name(model._meta.db_table)}{where})"  # noqa: S608
        " THEN '1' ELSE '' END"
        for name, model, where in asked
    )


def _made_of() -> tuple[QuerySet[Any], ...]:
    ended = Campaign.Status.ENDED
    return (
        Shop.objects.all(),
        EventSource.objects.all(),
        ModelSlot.objects.all(),
        Target.objects.all(),
        AttributeDefinition.objects.all(),
        Segment.objects.all(),
        Offer.objects.all(),
        Campaign.objects.exclude(status=ended),
        CampaignRule.objects.exclude(campaign__status=ended),
        ServicePriorityRule.objects.filter(is_active=True),
        HoldoutGroup.objects.filter(is_current=True),
        FrequencyCap.objects.filter(is_active=True),
    )


def _told(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Table and content of each row, with what counts of the rows that it refers to."""
    meta = rows.model._meta
    columns = [field.attname for field in meta.concrete_fields if field.name not in _IGNORED]
    columns += _REFERRED.get(rows.model, ())
    content = Cast(JSONArray(*columns), TextField())
    return rows.order_by().values_list(Value(meta.db_table, CharField()), content)
