"""A process that decides for ranges of customers as a run does, from what is stored: frame, segments, decision, commit.

`python -m benchmarks.decision_worker NUMBER COUNT`: the part NUMBER of COUNT. Says "ready", is told how many customers a
transaction has, answers with what it took.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial

import django

from benchmarks.processes import say
from benchmarks.used import measured

django.setup()


def main() -> None:
    from workers.warmup import warm

    warm()
    number, count = int(sys.argv[1]), int(sys.argv[2])
    say("ready")
    for line in sys.stdin:
        say(json.dumps(measured(partial(_part, int(line), number, count))))


def _part(size: int, number: int, count: int) -> dict[str, int]:
    return {"decisions": sum(decide(ids) for ids in _ranges(size, number, count))}


def decide(ids: list[int], *, cause: int = 1) -> int:
    """As scoring.score_customers from its decision frame on; returns how many decisions were written."""
    from django.db import transaction

    from crm_integration import outbox
    from segmentation import decisions, in_force, memberships, rule_columns, scoring, stored_frames
    from segmentation.features import customer_rows
    from segmentation.locks import commit_later
    from segmentation.news import News
    from segmentation.stages import stage

    with in_force.steady():
        shop = in_force.shop()
        as_of = shop.scoring_as_of()
        with stage("read"):
            asked = rule_columns.wanted(shop.today())
            frame = stored_frames.read(ids, as_of=as_of, wanted=asked)
        frame = memberships.evaluate(frame, today=shop.today())
        with transaction.atomic():
            with stage("lock"):
                stored = customer_rows.locked(scoring.STORED, ids)
            decided = decisions.decide(frame, as_of=as_of, cause=cause, people=decisions.people(stored))
            with stage("outbox"):
                outbox.stage([News(key, decision) for key, decision in decided.ids().items()])
            commit_later()
    return len(decided)


def _ranges(size: int, number: int, count: int) -> Iterator[list[int]]:
    """Every COUNT-th chunk of the classified customers, by id."""
    from segmentation import stored_frames

    for turn, ids in enumerate(stored_frames.chunks(size=size)):
        if turn % count == number:
            yield ids


if __name__ == "__main__":
    main()
