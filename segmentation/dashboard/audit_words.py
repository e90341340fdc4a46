"""Audit entries in words: what was done, on what, and each value before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from segmentation.dashboard import words

ACTIONS: dict[str, words.Text] = {
    "created": _("Created"),
    "changed": _("Changed"),
    "deleted": _("Deleted"),
    "moved": _("Moved in the order"),
    "resolved": _("Alert resolved"),
    "sign_in": _("Signed in"),
    "sign_in.failed": _("Wrong password or code"),
    "sign_in.throttled": _("Has to wait after wrong tries"),
    "sign_in.unlocked": _("Wait ended by the operator"),
    "second_factor.set_up": _("Second step set up"),
    "second_factor.dropped": _("Second step turned off"),
    "second_factor.recovery_used": _("Recovery code used"),
    "second_factor.codes_renewed": _("New recovery codes"),
    "password.changed": _("Own password changed"),
    "password.set": _("Password of another person set"),
    "campaign.moved": _("Campaign started, paused or ended"),
    "campaign.approved": _("Campaign approved"),
    "campaign.measured": _("Results of a campaign asked for"),
    "api.campaign_measured": _("Results of a campaign asked for by the REST interface"),
    "backtest.requested": _("Backtest asked for"),
    "estimate.requested": _("Estimate of another choice asked for"),
    "api.estimate_started": _("Estimate of another choice asked for by the REST interface"),
    "outlook.requested": _("Demand outlook asked for"),
    "offer.codes_loaded": _("Codes of an offer added"),
    "holdout.drawn": _("Holdout drawn"),
    "segment.rule_saved": _("Rule of a segment saved"),
    "segment.switched": _("Segment switched on or off"),
    "segment.deleted": _("Segment deleted"),
    "segment.from_template": _("Segment made from a template"),
    "segment.put_by_hand": _("Customers put on or off a segment by hand"),
    "segment.forgot_by_hand": _("Customers left to the rule again"),
    "priority.override": _("Priority set by hand"),
    "priority.override_ended": _("Priority by hand ended"),
    "priority.approved": _("Later service approved"),
    "priority.refused": _("Later service refused"),
    "priority.handled": _("Service work done"),
    "override.set": _("Class set by hand"),
    "override.lifted": _("Class by hand lifted"),
    "override.replaced": _("Class by hand replaced"),
    "override.expired": _("Class by hand ran out"),
    "label.marked": _("Label given or taken away"),
    "starter.installed": _("First segments, offers and campaigns made"),
    "contact_read": _("Contact data read"),
    "texts_read": _("Texts read"),
    "email_searched": _("E-mail address searched"),
    "rescore_asked": _("Asked to score a customer again"),
    "customer.merged": _("Customers merged"),
    "customer.split": _("Customers split"),
    "privacy.export": _("Asked for what is held about a person"),
    "privacy.erase": _("Asked to erase a person"),
    "privacy.erase_from": _("Asked to erase everybody who is known by one source alone"),
    "privacy.answered": _("Held data compiled for a person"),
    "privacy.downloaded": _("Held data downloaded"),
    "privacy.erased": _("Person erased"),
    "privacy.again": _("Privacy request tried again"),
    "privacy.lifted": _("Marks of erased persons lifted"),
    "threshold.export": _("List of customers exported"),
    "import.request": _("Import asked for"),
    "import.cancel": _("Import stopped"),
    "training.request": _("Training asked for"),
    "training.cancel": _("Training stopped"),
    "evaluation.request": _("Evaluation asked for"),
    "evaluation.cancel": _("Evaluation stopped"),
    "classification.start": _("Classification started"),
    "classification.cancel": _("Classification stopped"),
    "model.promote": _("Model version promoted"),
    "model.roll_back": _("Model version rolled back"),
    "connection.secret_set": _("Secret of a connection set"),
    "connection.secret_rotated": _("Secret of a connection rotated"),
    "connection.previous_secret_dropped": _("Old secret of a connection dropped"),
    "connection.settings_changed": _("Settings of a connection changed"),
    "connection.push_changed": _("What is written to a CRM changed"),
    "connection.pushed_again": _("Written to a CRM again"),
    "connection.scheme_tested": _("Signature looked into"),
    "connection.stopped": _("Connection stopped"),
    "connection.test_sent": _("Test message sent"),
    "connection.tried": _("Connection tried out"),
    "message.body_read": _("Body of a message read"),
    "inbound.replayed": _("Message processed again"),
    "outbound.redelivered": _("Message delivered again"),
    "api_token.issued": _("API token made"),
    "api_token.revoked": _("API token revoked"),
    "job.started_by_message": _("Work asked for by a message"),
    "api.import_started": _("Import asked for over the API"),
    "api.import_cancelled": _("Import stopped over the API"),
    "api.training_started": _("Training asked for over the API"),
    "api.training_cancelled": _("Training stopped over the API"),
    "api.classification_started": _("Classification started over the API"),
    "api.classification_cancelled": _("Classification stopped over the API"),
}


def action(name: str) -> words.Text:
    return ACTIONS.get(name, name)


def model_of(object_type: str) -> type[models.Model] | None:
    try:
        return apps.get_model(object_type)
    except (LookupError, ValueError):
        return None


def thing(object_type: str) -> words.Text:
    """“campaign” for segmentation.campaign; what is no model any more as it was written."""
    model = model_of(object_type)
    return capfirst(str(model._meta.verbose_name)) if model is not None else object_type


# What entries tell besides, by the name it is kept under.
LABELS: dict[str, words.Text] = {
    "as_of": _("as of"),
    "budget": _("budget"),
    "count": _("number"),
    "counts": _("number"),
    "customers": _("customers"),
    "days": _("days"),
    "door": _("door"),
    "draw": _("draw"),
    "file": _("file"),
    "found": _("found"),
    "label": _("class"),
    "left": _("left"),
    "level": _("priority"),
    "of": _("belongs to"),
    "percent": _("percent"),
    "place": _("place"),
    "reason": _("reason"),
    "scopes": _("scopes"),
    "target": _("target"),
    "token": _("token"),
    "until": _("until"),
    "version": _("version"),
}
# Named by their own words; of everything else (customers above all) the id stands.
NAMED = {
    "auth.group", "auth.user", "crm_integration.apitoken", "crm_integration.connection", "segmentation.attributedefinition",
    "segmentation.campaign", "segmentation.frequencycap", "segmentation.offer", "segmentation.segment",
    "segmentation.servicepriorityrule", "segmentation.target",
}  # fmt: skip


def names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(kind, id) → what the thing is called now; a query for each kind, none for what is gone or has no name."""
    wanted: dict[str, list[int]] = {}
    for kind, key in keys:
        if kind in NAMED and key.isdecimal():
            wanted.setdefault(kind, []).append(int(key))
    found: dict[tuple[str, str], str] = {}
    for kind, ids in wanted.items():
        model = model_of(kind)
        rows = model._base_manager.in_bulk(ids) if model is not None else {}
        found |= {(kind, str(pk)): str(row) for pk, row in rows.items()}
    return found


def details(object_type: str, detail: dict[str, Any]) -> Iterator[str]:
    """“name: before → after” for each value told, “name” for what is kept secret, and the rest as it stands."""
    model, told = model_of(object_type), set()
    before, after = detail.get("before"), detail.get("after")
    if isinstance(before, dict) or isinstance(after, dict):
        was, now = (one if isinstance(one, dict) else {} for one in (before, after))
        for name in dict.fromkeys([*was, *now]):
            told.add(name)
            values = (_chosen(model, name, one.get(name)) for one in (was, now))
            yield f"{_label(model, name)}: {' → '.join(values)}"
    elif "before" in detail or "after" in detail:
        # A move from one state to another.
        yield f"{_chosen(model, 'status', before)} → {_chosen(model, 'status', after)}"
    for name in detail.get("fields", []):
        if name not in told:
            yield _label(model, name)
    for name, value in detail.items():
        if name not in {"before", "after", "fields"}:
            yield f"{LABELS.get(name, name)}: {_said(value)}"


def _field(model: type[models.Model] | None, name: str) -> Any:
    try:
        return model._meta.get_field(name) if model is not None else None
    except FieldDoesNotExist:
        return None


def _label(model: type[models.Model] | None, name: str) -> str:
    return str(getattr(_field(model, name), "verbose_name", LABELS.get(name, name)))


def _chosen(model: type[models.Model] | None, name: str, value: Any) -> str:
    """One of a field's choices by its words."""
    choices = dict(getattr(_field(model, name), "flatchoices", ()))
    words_of_it = choices.get(value) if isinstance(value, str | int) else None
    return str(words_of_it) if words_of_it is not None else _said(value)


def _moment(value: str) -> datetime | None:
    """Times that we wrote down have a zone; a name that somebody gave may look like one, and be none."""
    try:
        found = parse_datetime(value) if "T" in value else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _said(value: Any) -> str:
    if isinstance(value, str) and (moment := _moment(value)) is not None:
        return words.moment(moment)
    if value is None or value == "":
        return words.NOTHING
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or words.NOTHING
    if isinstance(value, bool | dict):
        return str(_("yes") if value is True else _("no") if value is False else value)
    return words.plain(value)
