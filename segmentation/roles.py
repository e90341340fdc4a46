"""Roles as groups with permissions; a person may hold several.

The whole table, page by page and button by button, is pinned in tests/segmentation/admin/access_table.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_noop as _


def _edits(*models: str) -> tuple[str, ...]:
    return tuple(f"{verb}_{model}" for model in models for verb in ("add", "change", "delete"))


APPS = ("segmentation", "auth")
BUSINESS = (
    "alert",
    "attributedefinition",
    "campaign",
    "campaignresult",
    "campaignrule",
    "customer",
    "decision",
    "demandoutlook",
    "featureportrait",
    "frequencycap",
    "grant",
    "membership",
    "offer",
    "offertext",
    "policybacktest",
    "policyestimate",
    "priorityoverride",
    "priorityreview",
    "segment",
    "segmentversion",
    "servicepriority",
    "servicepriorityrule",
    "shop",
    "suppression",
    "target",
)
LEARNING = (
    "customerfeatures",
    "customermap",
    "evaluationrun",
    "importrun",
    "modelcheck",
    "modelslot",
    "modelversion",
    "promotiondiff",
    "scoringrun",
    "score",
    "scoreoverride",
    "shopcontext",
    "textmodel",
    "trainingrun",
    "workerprocess",
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
    "scoreoverride",
    "customerfeatures",
    "consent",
    "customeridentity",
    "contactdata",
)


# What a look around needs: no contact data, no raw events, no consents.
LOOKING = (
    "campaign",
    "campaignrule",
    "customer",
    "decision",
    "featureportrait",
    "frequencycap",
    "membership",
    "offer",
    "offertext",
    "score",
    "segment",
    "segmentversion",
    "servicepriority",
    "servicepriorityrule",
    "target",
)
# Looking after people who sign in; everything else of the framework's own tables stays closed.
PEOPLE = ("add_user", "change_user", "delete_user", "view_user", "add_group", "change_group", "view_group")


@dataclass(frozen=True)
class Role:
    """`sees`: models whose rows are shown. `may`: permissions to do something, by codename. `may_all`: of this
    application everything, those who sign in included."""

    name: str
    sees: tuple[str, ...]
    may: tuple[str, ...] = ()
    may_all: bool = False

    @property
    def codenames(self) -> frozenset[str]:
        return frozenset(f"view_{model}" for model in self.sees) | frozenset(self.may)


ROLES = (
    Role("Viewer", sees=LOOKING),
    Role(
        "Analyst",
        sees=(*BUSINESS, *LEARNING, *DATA),
        may=(
            *_edits("attributedefinition", "segment", "target"),
            "add_importrun",
            "add_trainingrun",
            "change_trainingrun",
            "add_evaluationrun",
            "change_evaluationrun",
            "add_scoringrun",
            "change_modelslot",
            "add_duecustomer",
            "change_alert",
            "add_customermap",
            "add_campaignresult",
            "add_policybacktest",
            "add_policyestimate",
            "add_demandoutlook",
            "add_attributevalue",
            "add_scoreoverride",
            "change_scoreoverride",
            "export_customer_list",
        ),
    ),
    Role(
        "Campaign manager",
        sees=(
            *BUSINESS,
            "event",
            "eventitem",
            "product",
            "holdoutgroup",
            "scoringrun",
            "score",
            "scoreoverride",
            "consent",
        ),
        may=(
            *_edits("campaign", "campaignrule", "offer", "offertext", "segment", "servicepriorityrule"),
            *_edits("frequencycap", "suppression"),
            "approve_campaign",
            "add_campaignresult",
            "add_policybacktest",
            "add_policyestimate",
            "add_demandoutlook",
            "change_priorityreview",
            "add_priorityoverride",
            "add_scoringrun",
            "add_holdoutgroup",
            "add_duecustomer",
            "add_attributevalue",
            "add_scoreoverride",
            "change_scoreoverride",
            "export_customer_list",
        ),
    ),
    Role(
        "Service agent",
        sees=(
            "customer",
            "decision",
            "offer",
            "segment",
            "membership",
            "servicepriority",
            "priorityoverride",
            *SERVICE,
        ),
        may=(
            "add_duecustomer",
            "change_servicepriority",
            "add_priorityoverride",
            "merge_customer",
            "add_attributevalue",
        ),
    ),
    Role(
        "Data protection",
        sees=("customer", "decision", "segment", "membership", "servicepriority", *SERVICE, "privacyrequest"),
        may=("erase_customer", "export_customer_data", "merge_customer"),
    ),
    Role("Auditor", sees=(*BUSINESS, *LEARNING, *DATA, "privacyrequest", "auditentry")),
    Role("Administrator", sees=(), may_all=True),
)


# Groups are rows and keep their English names; the console shows these in the person's language.
NAMES = (
    _("Viewer"),
    _("Analyst"),
    _("Campaign manager"),
    _("Service agent"),
    _("Data protection"),
    _("Auditor"),
    _("Administrator"),
)


@transaction.atomic
def install() -> list[Group]:
    """Create the groups and set exactly the permissions above; running it again repairs them. Raises LookupError."""
    return [_install(role) for role in ROLES]


def _install(role: Role) -> Group:
    found = list(_permissions(role))
    missing = role.codenames - {permission.codename for permission in found}
    if missing:
        raise LookupError(
            f"role {role.name}: no such permission: {', '.join(sorted(missing))}; run migrate first"
        )
    group, _ = Group.objects.get_or_create(name=role.name)
    # Other applications add their own permissions to these groups; theirs are kept.
    apps = APPS if role.may_all else APPS[:1]
    group.permissions.remove(*group.permissions.filter(content_type__app_label__in=apps))
    group.permissions.add(*found)
    return group


def _permissions(role: Role) -> QuerySet[Permission]:
    ours = Q(content_type__app_label="segmentation")
    if role.may_all:
        return Permission.objects.filter(ours | Q(content_type__app_label="auth", codename__in=PEOPLE))
    return Permission.objects.filter(ours, codename__in=role.codenames)
