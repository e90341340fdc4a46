"""Create or repair the groups of the roles (segmentation/roles.py, crm_integration/roles.py)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from crm_integration import roles as door_roles
from segmentation import roles


class Command(BaseCommand):
    help = "Create or repair the groups of roles and their permissions."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            groups = roles.install()
            door_roles.install()
        except LookupError as error:
            raise CommandError(str(error)) from error
        for group in groups:
            self.stdout.write(f"{group.name}: {group.permissions.count()} permissions")
