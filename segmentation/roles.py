"""Five roles as groups with permissions; a person may hold several."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.db import transaction


def _edits(*models: str) -> tuple[str, ...]:
    return tuple(f"{verb}_{model}" for model in models for verb in ("add", "change", "delete"))


BUSINESS = (
    "alert",
    "attributedefinition",
    "campaign",
    "campaignrule",
    "customer",
    "decision",
    "featureportrait",
    "membership",
    "offer",
    "segment",
    "segmentversion",
    "servicepriority",
    "servicepriorityrule",
    "shop",
    "target",
)
LEARNING = (
    "customerfeatures",
    "importrun",
    "modelcheck",
    "modelslot",
    "modelversion",
    "scoringrun",
    "score",
    "shopcontext",
    "trainingrun",
)
DATA = (
    "category",
    "consent",
    "customeridentity",
    "event",
    "eventitem",
    "exchangerate",
    "holdoutgroup",
    "product",
)
SERVICE = (
    "event",
    "eventitem",
    "eventtext",
    "product",
    "score",
    "customerfeatures",
    "consent",
    "customeridentity",
    "contactdata",
)


@dataclass(frozen=True)
class Role:
    """`sees`: models whose rows are shown. `may`: permissions to do something, by codename."""

    name: str
    sees: tuple[str, ...]
    may: tuple[str, ...] = ()

    @property
    def codenames(self) -> frozenset[str]:
        return frozenset(f"view_{model}" for model in self.sees) | frozenset(self.may)


ROLES = (
    Role(
        "Analyst",
        sees=(*BUSINESS, *LEARNING, *DATA),
        may=(
            *_edits("attributedefinition", "segment", "target"),
            "add_importrun",
            "add_trainingrun",
            "change_trainingrun",
            "add_scoringrun",
            "change_modelslot",
            "add_duecustomer",
            "change_alert",
        ),
    ),
    Role(
        "Campaign manager",
        sees=(*BUSINESS, "event", "eventitem", "product", "holdoutgroup", "scoringrun", "score", "consent"),
        may=(
            *_edits("campaign", "campaignrule", "offer", "segment", "servicepriorityrule"),
            "add_scoringrun",
            "add_holdoutgroup",
            "add_duecustomer",
        ),
    ),
    Role(
        "Service agent",
        sees=("customer", "decision", "offer", "segment", "membership", "servicepriority", *SERVICE),
        may=("add_duecustomer",),
    ),
    Role(
        "Data protection",
        sees=("customer", "decision", "segment", "membership", "servicepriority", *SERVICE, "privacyrequest"),
        may=("erase_customer", "export_customer_data"),
    ),
    Role("Auditor", sees=(*BUSINESS, *LEARNING, *DATA, "privacyrequest", "auditentry")),
)


@transaction.atomic
def install() -> list[Group]:
    """Create the groups and set exactly the permissions above; running it again repairs them. Raises LookupError."""
    return [_install(role) for role in ROLES]


def _install(role: Role) -> Group:
    found = list(
        Permission.objects.filter(content_type__app_label="segmentation", codename__in=role.codenames)
    )
    missing = role.codenames - {permission.codename for permission in found}
    if missing:
        raise LookupError(
            f"role {role.name}: no such permission: {', '.join(sorted(missing))}; run migrate first"
        )
    group, _ = Group.objects.get_or_create(name=role.name)
    # Other applications add their own permissions to these groups; theirs are kept.
    ours = group.permissions.filter(content_type__app_label="segmentation")
    group.permissions.remove(*ours)
    group.permissions.add(*found)
    return group
