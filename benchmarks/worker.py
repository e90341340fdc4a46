"""One worker process of a batch benchmark: warm as a running worker is, then the shards of the run it is told about.

Speaks with its parent line by line: "ready", then the id of a run comes in, then what it did goes out as JSON.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import django

from benchmarks.processes import say
from benchmarks.used import Memory, Used, peak_mib

django.setup()


def main() -> None:
    from crm_integration import outbox
    from segmentation import scoring_runs
    from segmentation.stages import recording, stage
    from workers.warmup import warm

    warm()
    say("ready")
    run_id = int(sys.stdin.readline())
    on_decided = stage("outbox")(outbox.stage)
    started, shards, used = perf_counter(), 0, Used.now()
    with recording() as seconds, Memory() as memory:
        while shard := scoring_runs.claim_shard(run_id):
            scoring_runs.run_shard(shard, on_decided=on_decided)
            shards += 1
    answer = {
        "shards": shards,
        "busy": perf_counter() - started,
        "rss_mib": peak_mib(),
        "rss_by_tenth_mib": memory.by_tenth(),
        "stages": dict(seconds),
    }
    say(json.dumps({**answer, **used.since()}))


if __name__ == "__main__":
    main()
