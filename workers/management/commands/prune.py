from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from crm_integration import retention as messages
from segmentation import retention as results


class Command(BaseCommand):
    help = (
        "Delete what is older than the retention periods. Events are kept; the workers run this once a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--decision-days", type=int, default=results.DECISION_DAYS)
        parser.add_argument("--file-days", type=int, default=results.FILE_DAYS)
        parser.add_argument("--body-days", type=int, default=messages.BODY_DAYS)
        parser.add_argument("--key-days", type=int, default=messages.KEY_DAYS)

    def handle(self, *args: Any, **options: Any) -> None:
        decisions = results.prune_decisions(days=options["decision_days"])
        deliveries = messages.prune_messages(body_days=options["body_days"], key_days=options["key_days"])
        files = results.prune_files(days=options["file_days"])
        self.stdout.write(
            f"{decisions} decisions and snapshots, {deliveries} message rows and {files} uploaded files deleted"
        )
