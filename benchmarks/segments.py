"""Fifty rules over stored rows beside the same rules by hand, and a membership difference beside a bare COPY."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import polars as pl

from benchmarks import rules

RULE_RATIO = 1.25
CHUNK = 20_000
REPEATS = 3
PUBLISH_CHUNK = 5_000


def measure() -> dict[str, Any]:
    """On a classified shop."""
    from segmentation import stored_frames
    from segmentation.models import Shop

    today = Shop.get().today()
    definitions = _definitions()
    spent = {"read": 0.0, "rules": 0.0, "by_hand": 0.0}
    rows = 0
    for ids in stored_frames.chunks(size=CHUNK):
        started = perf_counter()
        frame = stored_frames.read(ids)
        spent["read"] += perf_counter() - started
        _compare(frame, definitions, today, spent)
        rows += frame.height
    return {
        "benchmark": "segments",
        "rows": rows,
        "rules": len(definitions),
        "seconds": spent,
        "ratio": spent["rules"] / spent["by_hand"],
        "publish": _publish(),
    }


def lines(result: dict[str, Any]) -> list[str]:
    seconds, publish = result["seconds"], result["publish"]
    million = 1_000_000 / result["rows"]
    return [
        f"{result['rules']} rules over {result['rows']:,} rows: ratio to the same by hand {result['ratio']:.2f} "
        f"(target {RULE_RATIO}) · a million rows {seconds['rules'] * million:.2f} s, by hand "
        f"{seconds['by_hand'] * million:.2f} s, reading them {seconds['read'] * million:.1f} s",
        f"membership difference of {publish['rows']:,} rows: ratio to COPY {publish['ratio']:.2f} · "
        f"{publish['rows'] / publish['seconds']:,.0f} rows/s, COPY {publish['rows'] / publish['floor']:,.0f} rows/s · "
        f"finding that nothing changed {publish['customers'] / publish['unchanged']:,.0f} customers/s",
    ]


def _definitions() -> list[Any]:
    from segmentation import segments

    return [
        segments.Definition(
            id=number,
            slug=f"bench-{both.slug}",
            name=both.slug,
            node=segments.validate(both.rule, slug=f"bench-{both.slug}"),
            depends_on=frozenset(),
            predicts=False,
        )
        for number, both in enumerate(rules.RULES)
    ]


def _compare(frame: pl.DataFrame, definitions: list[Any], today: Any, spent: dict[str, float]) -> None:
    from segmentation import memberships

    by_hand = [both.by_hand.alias(f"segment.bench-{both.slug}") for both in rules.RULES]
    columns = [definition.column for definition in definitions]
    ours, ours_in = _fastest(lambda: memberships.evaluate(frame, definitions, today=today))
    theirs, theirs_in = _fastest(lambda: frame.with_columns(by_hand))
    if not ours.select(columns).equals(theirs.select(columns)):
        raise SystemExit("The rules and their hand-written forms disagree.")
    spent["rules"] += ours_in
    spent["by_hand"] += theirs_in


def _fastest(work: Callable[[], pl.DataFrame]) -> tuple[pl.DataFrame, float]:
    """The quickest of a few turns: others use the machine too."""
    best, answer = float("inf"), pl.DataFrame()
    for _turn in range(REPEATS):
        started = perf_counter()
        answer = work()
        best = min(best, perf_counter() - started)
    return answer, best


def _publish() -> dict[str, float]:
    """Segments nobody is in yet get their members, then find out that nothing changed; the same rows by COPY."""
    from django.db import transaction

    from segmentation import memberships, stored_frames
    from segmentation.locks import lock_customers
    from segmentation.models import Membership, MembershipCause, Segment

    chosen = rules.RULES[rules.INSTALLED :]
    made = [
        Segment.objects.get_or_create(slug=f"new-{both.slug}", defaults={"name": both.slug})[0]
        for both in chosen
    ]
    Membership.objects.filter(segment__in=made).delete()
    exprs = [both.by_hand.alias(f"segment.new-{both.slug}") for both in chosen]
    seconds = unchanged = 0.0
    rows = customers = 0
    for ids in stored_frames.chunks(size=PUBLISH_CHUNK):
        frame = stored_frames.read(ids).select("customer_id", *exprs)
        for again in (False, True):
            started = perf_counter()
            with transaction.atomic():
                lock_customers(ids)
                report = memberships.publish(frame, cause=MembershipCause.EDIT)
            elapsed = perf_counter() - started
            if again:
                unchanged += elapsed
            else:
                seconds += elapsed
                rows += report.changes
        customers += len(ids)
    floor = _copy_floor([segment.pk for segment in made])
    return {
        "rows": rows,
        "customers": customers,
        "seconds": seconds,
        "unchanged": unchanged,
        "floor": floor,
        "ratio": seconds / floor,
    }


def _copy_floor(segment_ids: list[int]) -> float:
    """Seconds to bring the same rows into tables of the same make, indexes in place."""
    from benchmarks.copies import into_twin
    from segmentation.models import Membership

    return into_twin(
        Membership,
        f"segment_id IN ({', '.join(map(str, segment_ids))})",
        columns=[str(field.column) for field in Membership._meta.concrete_fields],
    )
