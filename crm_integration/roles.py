"""What the roles (segmentation/roles.py) may see and do at the doors. Connections, secrets, tokens and the bodies of
messages are left to administrators."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import QuerySet

APP = "crm_integration"
_SEES = ("connection", "inboundmessage", "outboundmessage", "refuseddelivery", "deliveryattempt", "apitoken")
ADMINISTRATOR = "Administrator"
ROLES: dict[str, frozenset[str]] = {
    "Analyst": frozenset(
        [*(f"view_{model}" for model in _SEES), "change_inboundmessage", "change_outboundmessage"]
    ),
    "Auditor": frozenset(f"view_{model}" for model in _SEES),
}


@transaction.atomic
def install() -> list[Group]:
    """Give the groups exactly these permissions of ours; permissions of other applications are left alone."""
    ours = Permission.objects.filter(content_type__app_label=APP)
    groups = [_give(name, ours.filter(codename__in=codenames)) for name, codenames in ROLES.items()]
    return [*groups, _give(ADMINISTRATOR, ours)]


def _give(name: str, permissions: QuerySet[Permission]) -> Group:
    group, _created = Group.objects.get_or_create(name=name)
    group.permissions.remove(*group.permissions.filter(content_type__app_label=APP))
    group.permissions.add(*permissions)
    return group
