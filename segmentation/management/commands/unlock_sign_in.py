from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from segmentation.access import second_factor, throttle
from segmentation.models import AuditEntry


class Command(BaseCommand):
    help = (
        "End the wait after wrong tries to sign in: of a person, of an address, or (--all) of everybody. "
        "With --drop-second-factor the person signs in by password alone and sets the second step up anew."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="?", default="")
        parser.add_argument(
            "--address", default="", help="IP address; of IPv6 the network, such as 2001:db8::/64"
        )
        parser.add_argument("--all", action="store_true")
        parser.add_argument("--drop-second-factor", action="store_true")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        name, address = options["username"], options["address"]
        if not (name or address or options["all"]):
            raise CommandError("Say whom: a username, --address, or --all.")
        user = User.objects.filter(username=name).first()
        if name and user is None:
            raise CommandError(f"There is no account “{name}”.")
        ended = throttle.unlock(account=name, address=address)
        AuditEntry.record("sign_in.unlocked", user, counts=ended)
        self.stdout.write(f"{ended} counts of wrong tries ended")
        if options["drop_second_factor"]:
            if user is None:
                raise CommandError("--drop-second-factor needs a username.")
            dropped = second_factor.drop(user, by=None)
            self.stdout.write("The second step is off." if dropped else "There was no second step.")
