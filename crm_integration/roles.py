"""What the roles (segmentation/roles.py) may see of the doors. Changing connections is left to administrators."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import transaction

APP = "crm_integration"
_SEES = ("connection", "inboundmessage", "outboundmessage", "refuseddelivery", "deliveryattempt", "apitoken")
ROLES: dict[str, frozenset[str]] = {
    "Analyst": frozenset(
        [*(f"view_{model}" for model in _SEES), "change_inboundmessage", "change_outboundmessage"]
    ),
    "Auditor": frozenset(f"view_{model}" for model in _SEES),
}


@transaction.atomic
def install() -> list[Group]:
    """Give the groups exactly these permissions of ours; permissions of other applications are left alone."""
    groups = []
    for name, codenames in ROLES.items():
        group, _created = Group.objects.get_or_create(name=name)
        group.permissions.remove(*group.permissions.filter(content_type__app_label=APP))
        group.permissions.add(*Permission.objects.filter(content_type__app_label=APP, codename__in=codenames))
        groups.append(group)
    return groups
