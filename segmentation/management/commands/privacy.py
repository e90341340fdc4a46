from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from segmentation import identities, privacy
from segmentation.models import Customer, LeaseState, PrivacyRequest
from segmentation.privacy.subjects import Asked, people_of

DOOR = "command"


class Command(BaseCommand):
    help = "Hand out everything that is held about a person (export), erase them (erase), or let them come back (lift)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=("export", "erase", "lift"))
        parser.add_argument(
            "reference", nargs="?", default="", help="The customer's number, or an id with --namespace."
        )
        parser.add_argument(
            "--namespace", default=identities.SHOP, help="Whose id it is: a connection's short name."
        )
        parser.add_argument("--email", default="", help="Their e-mail address, besides or instead of an id.")
        parser.add_argument("--customer-id", type=int, help="The id of the row, as in the audit log.")
        parser.add_argument("--reason", default="", help="Why; it is kept, so it should name nobody.")
        parser.add_argument(
            "--output", type=Path, help="Where to write the export; otherwise to the terminal."
        )
        parser.add_argument("--yes", action="store_true", help="Erase without asking.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['what']}")(options)
        except privacy.NotAsked as problem:
            raise CommandError(str(problem)) from problem

    def _export(self, options: dict[str, Any]) -> None:
        row = self._worked(privacy.Kind.EXPORT, options)
        document = privacy.answer(row) or b""
        if options["output"] is None:
            self.stdout.write(document.decode())
            return
        options["output"].touch(mode=0o600)
        options["output"].write_bytes(document)
        self.stdout.write(f"Request #{row.pk} is answered in {options['output']}.")

    def _erase(self, options: dict[str, Any]) -> None:
        people = self._people(options)
        if not options["yes"]:
            self._confirm(people)
        row = self._worked(privacy.Kind.ERASE, options)
        counts = ", ".join(f"{count} {name}" for name, count in row.counts.items()) or "nothing was held"
        self.stdout.write(f"Request #{row.pk}: erased ({counts}).")
        if row.versions:
            self.stdout.write(
                f"{len(row.versions)} model versions may have learned from them; retrain by {row.retrain_by}."
            )

    def _lift(self, options: dict[str, Any]) -> None:
        count = privacy.lift(options["namespace"], options["reference"], options["email"] or None)
        self.stdout.write(f"{count} marks lifted.")

    def _people(self, options: dict[str, Any]) -> list[int]:
        return people_of(
            Asked(options["namespace"], options["reference"], options["email"], options["customer_id"])
        )

    def _confirm(self, people: list[int]) -> None:
        names = ", ".join(Customer.objects.filter(pk__in=people).values_list("reference", flat=True))
        if not sys.stdin.isatty():
            raise CommandError("Nobody is there to confirm; give --yes.")
        self.stdout.write(
            f"Erase {names or 'somebody who is not known here'} for good? Type the number again: "
        )
        typed = input().strip()
        if not typed or typed not in (names.split(", ") if names else [typed]):
            raise CommandError("Nothing was erased.")

    def _worked(self, kind: privacy.Kind, options: dict[str, Any]) -> PrivacyRequest:
        asked: dict[str, Any] = {"source": DOOR, "reason": options["reason"]}
        if options["customer_id"] is not None:
            customer = Customer.objects.filter(pk=options["customer_id"]).first()
            if customer is None:
                raise CommandError(f"There is no customer with the id {options['customer_id']}.")
            row = privacy.request_for(customer, kind, **asked)
        else:
            row = privacy.request(
                kind, options["namespace"], options["reference"], options["email"] or None, **asked
            )
        privacy.work(row.pk)
        row.refresh_from_db()
        if row.state != LeaseState.DONE:
            raise CommandError(f"Request #{row.pk} is not done yet: {row.get_state_display()}. {row.error}")
        return row
