from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from crm_integration import retention as messages
from segmentation import event_retention
from segmentation import retention as results
from segmentation.access import throttle


class Command(BaseCommand):
    help = "Delete what is older than the retention periods. The workers run this once a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--decision-days", type=int, default=results.DECISION_DAYS)
        parser.add_argument("--file-days", type=int, default=results.FILE_DAYS)
        parser.add_argument("--model-days", type=int, default=results.MODEL_DAYS)
        parser.add_argument("--body-days", type=int, default=messages.BODY_DAYS)
        parser.add_argument("--key-days", type=int, default=messages.KEY_DAYS)
        parser.add_argument(
            "--event-days",
            type=int,
            default=settings.EVENT_DAYS,
            help="Browsing, reviews, tickets and replaced versions; 0 keeps them for good.",
        )
        parser.add_argument(
            "--order-days",
            type=int,
            default=settings.ORDER_DAYS,
            help="Orders and returns; 0 keeps them for good.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        decisions = results.prune_decisions(days=options["decision_days"])
        deliveries = messages.prune_messages(body_days=options["body_days"], key_days=options["key_days"])
        files = results.prune_files(days=options["file_days"])
        versions = results.prune_models(days=options["model_days"])
        throttle.forget(now=timezone.now())
        events = self._prune_events(options)
        self.stdout.write(
            f"{decisions} decisions and snapshots, {deliveries} message rows, {files} uploaded files, "
            f"the model files of {versions} versions and {events} events deleted"
        )

    def _prune_events(self, options: dict[str, Any]) -> int:
        deleted = 0
        try:
            for part in event_retention.prune_events(
                event_days=options["event_days"], order_days=options["order_days"]
            ):
                deleted += part.events
                if options["verbosity"] > 1:
                    self.stdout.write(f"{deleted} events deleted, customers up to {part.customer_id}")
        except event_retention.RetentionProblem as problem:
            raise CommandError(str(problem)) from problem
        return deleted
