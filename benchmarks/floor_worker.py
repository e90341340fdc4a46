"""A process of the floor (benchmarks/floor.py): "walk" takes chunks until none is left, "index" builds its share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import django

django.setup()


from benchmarks import bare  # noqa: E402
from benchmarks.processes import say  # noqa: E402
from benchmarks.used import Used, peak_mib  # noqa: E402
from segmentation.stages import recording, stage  # noqa: E402


def main(place: Path) -> None:
    from segmentation.ml.threads import one_thread

    plan = json.loads((place / "plan.json").read_text())
    shop = bare.Shop.of(plan["run"])
    source = bare.source()
    say("ready")
    used = Used.now()
    while order := sys.stdin.readline().strip():
        with recording() as seconds, one_thread():
            if order == "walk":
                for number in _claimed(place, "chunk", len(plan["chunks"])):
                    _walk(source, shop, place, number, *plan["chunks"][number])
            else:
                for number in _claimed(place, "index", len(plan["indexes"])):
                    with stage("indexes"):
                        source.execute(plan["indexes"][number])
        say(json.dumps({"stages": dict(seconds), "rss_mib": peak_mib(), **used.since()}))


def _walk(source: bare.Source, shop: bare.Shop, place: Path, number: int, first: int, last: int) -> None:
    from benchmarks.floor import spooled
    from segmentation.features.compute import compute

    with stage("read"):
        events = source.events(first, last, before=shop.as_of)
        customers = source.customers(first, last, shop)
        source.consents(first, last)
    features = compute(events, shop.as_of, shop.context, customers=customers)
    rows = bare.population(features)
    scores = shop.predict(features.filter(rows))
    with stage("rules"):
        frame = bare.rules_frame(features, rows, scores)
        frame.select(shop.independent).sum()
        frame.with_columns(shop.independent).select(shop.dependent).sum()
    payloads = [(name, source.load(path)) for name, path in spooled(place, number)]
    for name, payload in payloads:
        with stage(STAGES.get(name, "memberships")):
            source.write(name, payload)
    with stage("other"):
        source.commit()


STAGES: Mapping[str, str] = {
    "floor_customer": "headline",
    "floor_customerfeatures": "vectors",
    "floor_score": "scores",
    "floor_scorehistory": "scores",
    "floor_decision": "decisions",
    "floor_servicepriority": "decisions",
    "floor_inputsnapshot": "snapshots",
}


def _claimed(place: Path, kind: str, count: int) -> Iterator[int]:
    """Numbers below `count` that no other process took."""
    for number in range(count):
        try:
            os.close(os.open(place / f"{kind}-{number}.taken", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        yield number


if __name__ == "__main__":
    main(Path(sys.argv[1]))
