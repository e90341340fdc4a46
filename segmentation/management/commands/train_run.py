"""`train_run ID --fence N`: the child process of a training worker; staff use `train`."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segmentation import leases, training_runs


class Command(BaseCommand):
    help = "Train a run that a worker has claimed (started by the worker, not by hand)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run_id", type=int)
        parser.add_argument("--fence", type=int, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _stop)
        try:
            self.work(options)
        except leases.LeaseLost as error:
            raise CommandError(str(error), returncode=3) from error

    def work(self, options: dict[str, Any]) -> None:
        from segmentation import training

        training.run(training_runs.held(options["run_id"], options["fence"]))


def _stop(signum: int, frame: FrameType | None) -> None:
    """The worker wants its child gone; the worker writes the end of the run itself."""
    raise SystemExit(128 + signum)
