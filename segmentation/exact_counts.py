"""Counting a draft rule to the last customer beside the request: in a large shop that takes longer than a page may wait.

The rule builder shows a sample with its margin at once and asks again until a worker has counted. A count is good for
ten minutes, or until a rule, segment or model changes; whoever edits on gives up the one before.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import partial
from typing import Any, Final

import orjson
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from segmentation import in_force, leases, previews
from segmentation.jobs import Job, enqueue
from segmentation.models import Customer, LeaseState, RuleCount, Segment
from segmentation.previews import Reach
from segmentation.rules import language

FRESH: Final = timedelta(minutes=10)
RETRY_AFTER: Final = timedelta(seconds=5)
OPEN: Final = (LeaseState.QUEUED, LeaseState.RUNNING)


def ask(rule: object, *, segment: Segment | None = None, by: Any = None) -> Reach | None:
    """The exact reach, if a worker has counted it; else None, and one will. Raises RuleError."""
    node = None if rule is None else language.to_json(language.parse(rule))
    previews.draft(node, segment)
    key = _key(node, segment)
    row = RuleCount.objects.filter(key=key).filter(_usable()).first()
    if row is None or row.result is None:
        _give_up_others(by, key)
        if row is None:
            _queue(key, node, segment, by)
        return None
    return _read(row.result)


def work(count_id: int) -> None:
    """Count one, if it waits."""
    for row in leases.claim(RuleCount.objects.filter(pk=count_id)):
        with leases.worked(row, after=RETRY_AFTER):
            try:
                found = previews.count_all(row.rule, segment=row.segment, on_part=partial(leases.renew, row))
            except language.RuleError as error:
                # What it names was deleted since.
                leases.fail(row, str(error))
            else:
                leases.finish(row, result=_written(found))


def _usable() -> Q:
    return Q(state__in=OPEN) | Q(state=LeaseState.DONE, finished_at__gte=Now() - FRESH)


def _key(rule: object, segment: Segment | None) -> str:
    """Of the same question to the same rules, segments and models."""
    asked = orjson.dumps([rule, segment and segment.pk, in_force.stamp()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()


def _queue(key: str, rule: object, segment: Segment | None, by: Any) -> None:
    who = by if getattr(by, "is_authenticated", False) else None
    RuleCount.objects.filter(finished_at__lt=Now() - FRESH).delete()
    try:
        with transaction.atomic():
            RuleCount.objects.filter(key=key).exclude(_usable()).delete()
            row = RuleCount.objects.create(key=key, rule=rule, segment=segment, requested_by=who)
            enqueue(Job.COUNT_RULE, count_id=row.pk)
    except IntegrityError:
        # Somebody asked the same at the same moment.
        return


def _give_up_others(by: Any, key: str) -> None:
    """Drafts that the same person has edited since."""
    if not getattr(by, "is_authenticated", False):
        return
    others = RuleCount.objects.filter(requested_by=by).exclude(key=key)
    others.filter(state=LeaseState.QUEUED).delete()
    others.filter(state=LeaseState.RUNNING).update(cancel_requested=True)


def _written(reach: Reach) -> dict[str, Any]:
    return {
        "count": reach.count,
        "total": reach.total,
        "by_tier": dict(reach.by_tier),
        # Who they are is looked up when the count is shown: an erased customer is named nowhere.
        "sample": [key for key, _reference in reach.sample],
    }


def _read(result: dict[str, Any]) -> Reach:
    total = result["total"]
    names = dict(Customer.objects.filter(pk__in=result["sample"]).values_list("pk", "reference"))
    return Reach(
        count=result["count"],
        total=total,
        share=result["count"] / total if total else 0.0,
        margin=0,
        by_tier=result["by_tier"],
        sample=tuple((key, names[key]) for key in result["sample"] if key in names),
    )
