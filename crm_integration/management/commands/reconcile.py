"""`reconcile CONNECTION`: fetch what changed at a CRM and say what its messages had missed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection as database
from django.utils import timezone

from crm_integration import reconciling
from crm_integration.comparing import CannotCompare
from crm_integration.models import Connection, Reconciliation
from segmentation.models import LeaseState

POLL_SECONDS = 1.0


def moment(text: str) -> datetime:
    """A day or a time; without a zone it is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = "Fetch what changed at a CRM through its API, store what its messages had missed, and say how much it was."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("connection", help="the connection's short name")
        parser.add_argument(
            "--since",
            type=moment,
            metavar="DATE",
            help="default: where the last comparison ended; an early day brings the history in",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = Connection.objects.filter(slug=options["connection"]).first()
        if connection is None:
            raise CommandError(f"There is no connection called {options['connection']!r}.")
        now = timezone.now()
        try:
            row, _new = reconciling.start(
                connection, period=f"asked {now:%Y-%m-%dT%H:%M:%S.%f}", now=now, since=options["since"]
            )
        except CannotCompare as problem:
            raise CommandError(str(problem)) from problem
        self._work(row)
        self._conclude(row)

    def _work(self, row: Reconciliation) -> None:
        """Here, or beside a worker that was quicker; waits that the CRM asks for are left to the workers."""
        while True:
            reconciling.work(row.pk)
            row.refresh_from_db()
            if row.is_over or (row.state == LeaseState.QUEUED and row.error):
                return
            database.close_if_unusable_or_obsolete()
            time.sleep(POLL_SECONDS if row.state == LeaseState.RUNNING else 0)

    def _conclude(self, row: Reconciliation) -> None:
        if row.state == LeaseState.FAILED:
            raise CommandError(row.error)
        if not row.is_over:
            self.stdout.write(f"Not finished yet, the workers go on later: {row.error}")
        self.stdout.write(
            f"{row.connection.slug}, changes from {row.since:%Y-%m-%d %H:%M} to {row.until:%Y-%m-%d %H:%M} UTC, "
            f"{row.pages} pages: {row.events_missed} facts were missing and are stored now, about "
            f"{row.customers_missed} customers; {row.known} were known; {row.rejected} could not be read."
        )
