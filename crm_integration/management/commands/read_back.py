"""`read_back CONNECTION`: compare what a CRM holds of ours with what we wrote, and write again what differs."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection as database
from django.utils import timezone

from crm_integration import drift
from crm_integration.comparing import CannotCompare
from crm_integration.models import Connection, DriftCheck
from segmentation.models import LeaseState

POLL_SECONDS = 1.0


class Command(BaseCommand):
    help = "Read back what a CRM holds of ours, say what differs from what was written, and with --push write it again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("connection", help="the connection's short name")
        parser.add_argument(
            "--sample",
            type=int,
            metavar="N",
            help="only N records, those compared longest ago (default: all)",
        )
        parser.add_argument("--push", action="store_true", help="write again what differs")

    def handle(self, *args: Any, **options: Any) -> None:
        connection = Connection.objects.filter(slug=options["connection"]).first()
        if connection is None:
            raise CommandError(f"There is no connection called {options['connection']!r}.")
        try:
            row, _new = drift.start(
                connection, period=drift.period_asked(timezone.now()), sample=options["sample"]
            )
        except CannotCompare as problem:
            raise CommandError(str(problem)) from problem
        self._work(row)
        if row.state == LeaseState.FAILED:
            raise CommandError(row.error)
        ending = "" if row.is_over else f" Not finished yet, the workers go on later: {row.error}"
        self.stdout.write(
            f"{connection.slug}: {row.compared} records read back, {row.differing} differ, {row.gone} are gone.{ending}"
        )
        if options["push"]:
            self.stdout.write(f"{drift.push_again(connection)} customers are written again.")

    def _work(self, row: DriftCheck) -> None:
        """Here, or beside a worker that was quicker; waits that the CRM asks for are left to the workers."""
        while True:
            drift.work(row.pk)
            row.refresh_from_db()
            if row.is_over or (row.state == LeaseState.QUEUED and row.error):
                return
            database.close_if_unusable_or_obsolete()
            time.sleep(POLL_SECONDS if row.state == LeaseState.RUNNING else 0)
