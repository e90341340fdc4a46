"""The sidebar: what the person may see, in the order of the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from segmentation.dashboard.words import Text


@dataclass(frozen=True)
class Item:
    """A link shown to whoever holds `permission` and only when the page exists."""

    title: Text
    icon: str
    page: str
    permission: str


def _list(title: Text, icon: str, model: str, app: str = "segmentation") -> Item:
    return Item(title, icon, f"admin:{app}_{model}_changelist", f"{app}.view_{model}")


GROUPS: tuple[tuple[Text, tuple[Item, ...]], ...] = (
    (
        _("Customers"),
        (
            _list(_("Customers"), "group", "customer"),
            _list(_("Attributes"), "label", "attributedefinition"),
            _list(_("Products"), "inventory_2", "product"),
        ),
    ),
    (
        _("Segments & campaigns"),
        (
            _list(_("Segments"), "pie_chart", "segment"),
            _list(_("Campaigns"), "campaign", "campaign"),
            _list(_("Offers"), "redeem", "offer"),
            _list(_("Given offers"), "loyalty", "grant"),
            _list(_("Decisions"), "rule", "decision"),
            _list(_("Demand outlook"), "trending_up", "demandoutlook"),
            _list(_("Frequency caps"), "speed", "frequencycap"),
            _list(_("Suppressed customers"), "do_not_disturb_on", "suppression"),
            _list(_("Holdout groups"), "science", "holdoutgroup"),
        ),
    ),
    (
        _("Service"),
        (
            _list(_("Work list"), "support_agent", "servicepriority"),
            _list(_("Later service to approve"), "rate_review", "priorityreview"),
            _list(_("Service priorities"), "low_priority", "servicepriorityrule"),
        ),
    ),
    (
        _("Learning"),
        (
            Item(
                _("Train"),
                "model_training",
                "admin:segmentation_trainingrun_train",
                "segmentation.add_trainingrun",
            ),
            _list(_("Training runs"), "history", "trainingrun"),
            Item(
                _("Compare algorithms"),
                "leaderboard",
                "admin:segmentation_trainingrun_compare",
                "segmentation.view_trainingrun",
            ),
            _list(_("Evaluations"), "rule", "evaluationrun"),
            _list(_("Model versions"), "deployed_code", "modelversion"),
            _list(_("Maps of customers"), "scatter_plot", "customermap"),
            _list(_("Classification runs"), "checklist", "scoringrun"),
            _list(_("Targets"), "target", "target"),
            _list(_("Features"), "functions", "featureportrait"),
            _list(_("Reviews and tickets"), "reviews", "textmodel"),
        ),
    ),
    (
        _("Data & connections"),
        (
            _list(_("Imports"), "upload_file", "importrun"),
            _list(_("Connections"), "cable", "connection", "crm_integration"),
            _list(_("API tokens"), "key", "apitoken", "crm_integration"),
            _list(_("Messages in"), "move_to_inbox", "inboundmessage", "crm_integration"),
            _list(_("Messages out"), "outbox", "outboundmessage", "crm_integration"),
            _list(_("Refused deliveries"), "block", "refuseddelivery", "crm_integration"),
        ),
    ),
    (
        _("Settings"),
        (
            _list(_("Shop"), "storefront", "shop"),
            _list(_("Exchange rates"), "currency_exchange", "exchangerate"),
            _list(_("Privacy requests"), "shield_person", "privacyrequest"),
            _list(_("System health"), "monitor_heart", "workerprocess"),
            _list(_("Alerts"), "notifications", "alert"),
            _list(_("Audit"), "fact_check", "auditentry"),
            _list(_("People"), "person", "user", "auth"),
            _list(_("Roles"), "badge", "group", "auth"),
        ),
    ),
)


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """Unfold's sidebar groups; empty groups are left out."""
    home = _entry(Item(_("Home"), "home", "admin:index", ""))
    groups = [{"title": title, "separator": True, "items": _items(request, items)} for title, items in GROUPS]
    shown: list[dict[str, Any]] = [
        {"title": "", "items": [home]},
        *(group for group in groups if group["items"]),
    ]
    _mark_open(shown, request.path, home["link"])
    return shown


def _items(request: HttpRequest, items: tuple[Item, ...]) -> list[dict[str, Any]]:
    entries = []
    for item in items:
        if not request.user.has_perm(item.permission):
            continue
        try:
            entries.append(_entry(item))
        except NoReverseMatch:
            # The application that owns the page is not installed here.
            continue
    return entries


def _entry(item: Item) -> dict[str, Any]:
    return {"title": item.title, "icon": item.icon, "link": reverse(item.page), "active": False}


def _mark_open(groups: list[dict[str, Any]], path: str, home: str) -> None:
    """The entry whose address is the longest beginning of the open page's; home only for itself."""
    entries = [entry for group in groups for entry in group["items"]]
    above = [
        entry
        for entry in entries
        if path.startswith(entry["link"]) and (entry["link"] != home or path == home)
    ]
    if above:
        max(above, key=lambda entry: len(entry["link"]))["active"] = True
