"""One worker process of a batch benchmark: warm as a running worker is, then the shards of the run it is told about.

Speaks with its parent line by line: "ready", then the id of a run comes in, then what it did goes out as JSON. One of the
workers is told to "finish" the run, as whichever warm worker takes the job of its end does.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import django

from benchmarks.processes import say
from benchmarks.used import Used, measured

django.setup()


def main() -> None:
    from segmentation import scoring_runs
    from workers.warmup import warm

    warm()
    say("ready")
    run_id = int(sys.stdin.readline())
    say(json.dumps(measured(partial(_shards, run_id))))
    if sys.stdin.readline().strip() == "finish":
        used = Used.now()
        scoring_runs.finish(run_id)
        say(json.dumps(used.since()))


def _shards(run_id: int) -> dict[str, int]:
    """Work on the run's shards until none is left."""
    from crm_integration import outbox
    from segmentation import scoring_runs
    from segmentation.stages import stage

    on_decided = stage("outbox")(outbox.stage)
    shards = 0
    while shard := scoring_runs.claim_shard(run_id):
        scoring_runs.run_shard(shard, on_decided=on_decided)
        shards += 1
    return {"shards": shards}


if __name__ == "__main__":
    main()
