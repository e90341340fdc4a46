"""`evaluate_run ID --fence N`: the child process of an evaluation's worker; staff use `evaluate`."""

from __future__ import annotations

from typing import Any

from segmentation import evaluation_runs
from segmentation.management.commands import train_run


class Command(train_run.Command):
    help = "Run an evaluation that a worker has claimed (started by the worker, not by hand)."

    def work(self, options: dict[str, Any]) -> None:
        evaluation_runs.run(evaluation_runs.held(options["run_id"], options["fence"]))
