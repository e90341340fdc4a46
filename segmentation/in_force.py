"""What rules and decisions are made of, as it is stored now, and what was worked out from it before.

Reading and parsing all rules takes longer than scoring a customer. One query tells everything that they are made of,
so what was worked out is kept for as long as its answer stays the same: whoever edits a rule, in whatever process,
the next question finds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
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
    HoldoutGroup,
    Offer,
    Segment,
    ServicePriorityRule,
    Target,
)

Answer = TypeVar("Answer")
KEPT: Final = 16
# Columns that scorings themselves keep up to date; no rule depends on them.
_IGNORED: Final = frozenset({"member_count", "refreshed_at"})
_kept: dict[Hashable, Any] = {}
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
    if may_be_kept and stamp() == before:
        with _lock:
            _kept[key] = answer
            while len(_kept) > KEPT:
                del _kept[next(iter(_kept))]
    return answer


def stamp() -> str:
    """Differs whenever anything differs that rules, segments or decisions are made of."""
    sql, values = _statement(connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows = sorted(cursor.fetchall())
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@lru_cache
def _statement(vendor: str) -> tuple[str, tuple[Any, ...]]:
    """The query as text: building it takes longer than asking it. vendor: every database has its own."""
    first, *others = (_told(rows) for rows in _made_of())
    return first.union(*others, all=True).query.sql_with_params()


def _made_of() -> tuple[QuerySet[Any], ...]:
    ended = Campaign.Status.ENDED
    return (
        Target.objects.all(),
        AttributeDefinition.objects.all(),
        Segment.objects.all(),
        Offer.objects.all(),
        Campaign.objects.exclude(status=ended),
        CampaignRule.objects.exclude(campaign__status=ended),
        ServicePriorityRule.objects.filter(is_active=True),
        HoldoutGroup.objects.filter(is_current=True),
    )


def _told(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Table and content of each row; of a segment with the rule of its version."""
    meta = rows.model._meta
    columns = [field.attname for field in meta.concrete_fields if field.name not in _IGNORED]
    if rows.model is Segment:
        columns.append("version__rule")
    content = Cast(JSONArray(*columns), TextField())
    return rows.order_by().values_list(Value(meta.db_table, CharField()), content)
