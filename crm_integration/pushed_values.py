"""What is written to a CRM's record about a customer: the outputs that staff chose, under the names they chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm_integration.adapters.base import Adapter
from crm_integration.adapters.pushing import OUTPUTS, Names, PushKind, Values, Write
from crm_integration.models import Connection, PushedRecord

MEANINGS: dict[str, Promise] = {
    "tier": _("Tier, such as high"),
    "segments": _("Short names of the segments, separated by commas"),
    "churn": _("Likelihood to stop buying, in percent"),
    "value": _("Expected value, in the shop's currency"),
    "offer": _("Short name of the offer"),
    "offer_text": _("Text of the offer"),
    "offer_code": _("Code of the offer"),
    "offer_until": _("Last day of the offer"),
    "campaign": _("Short name of the campaign"),
    "priority": _("Service priority, such as high"),
}
TAG_PREFIX = "tierwise:"
NAMESPACE = "tierwise"


def default_name(kind: PushKind, output: str) -> str:
    name = output.title().replace("_", "") if kind.in_camel_case else output
    return f"{kind.prefix}{name}"


def names_of(connection: Connection, adapter: Adapter) -> Names:
    """The chosen names; what was never chosen has its default."""
    kind = adapter.pushing
    if kind is None:
        return Names({})
    chosen: Mapping[str, Any] = connection.push
    given: Mapping[str, str] = chosen.get("fields", {})
    return Names(
        {output: given.get(output, default_name(kind, output)) for output in OUTPUTS},
        tag_prefix=chosen.get("tag_prefix", TAG_PREFIX) if kind.has_tags else "",
        namespace=chosen.get("namespace", NAMESPACE) if kind.has_namespace else "",
        segments=bool(chosen.get("segments", False)) and kind.joins_segments,
    )


def wanted(data: Mapping[str, Any], names: Names, kind: PushKind) -> Values:
    """What the record is to hold, from the `data` of a message (docs/webhooks.md)."""
    told = _outputs(data, with_units=kind.with_units)
    fields = {name: told[output] for output, name in names.fields.items() if name}
    segments = frozenset(data.get("segments") or ()) if names.segments else frozenset()
    return Values(fields, _tags(data, names, kind), segments)


def _outputs(data: Mapping[str, Any], *, with_units: bool) -> dict[str, str]:
    offer = data.get("offer") or {}
    value = data.get("expected_value") or {}
    churn = data.get("churn_probability")
    percent = "" if churn is None else f"{100 * churn:.0f}"
    amount = value.get("amount", "")
    if with_units:
        percent = f"{percent} %" if percent else ""
        amount = f"{amount} {value['currency']}" if amount else ""
    return {
        "tier": data.get("tier") or "",
        "segments": ", ".join(data.get("segments") or ()),
        "churn": percent,
        "value": amount,
        "offer": offer.get("slug", ""),
        "offer_text": offer.get("text", ""),
        "offer_code": offer.get("code") or "",
        "offer_until": offer.get("valid_until", ""),
        "campaign": (data.get("campaign") or {}).get("slug", ""),
        "priority": (data.get("service_priority") or {}).get("name", ""),
    }


def _tags(data: Mapping[str, Any], names: Names, kind: PushKind) -> frozenset[str]:
    """A tag for each segment and one for the tier; commas separate tags in some CRMs, so none may hold one."""
    if not names.tag_prefix:
        return frozenset()
    tier = data.get("tier")
    told = [*(data.get("segments") or ()), *([f"tier-{tier}"] if tier else [])]
    whole = (f"{names.tag_prefix}{name}".replace(",", " ") for name in told)
    return frozenset(tag for tag in whole if len(tag) <= kind.longest_tag)


def change(
    record: PushedRecord, goal: Values, *, key: int, message_id: str, told: Mapping[str, Any]
) -> Write:
    """The difference between what the record holds and what it is to hold.

    What an earlier attempt may have left there counts as doubtful and is written again.
    """
    holds, doubtful = Values.of(record.values), Values.of(record.attempted)
    fields = {}
    for name in {*holds.fields, *doubtful.fields, *goal.fields}:
        aim = goal.fields.get(name, "")
        may_hold = {holds.fields.get(name, ""), doubtful.fields.get(name, holds.fields.get(name, ""))}
        if may_hold != {aim}:
            fields[name] = aim
    is_doubtful = record.attempted is not None
    tags = holds.tags & doubtful.tags if is_doubtful else holds.tags
    segments = holds.segments & doubtful.segments if is_doubtful else holds.segments
    return Write(
        key=key,
        message_id=message_id,
        reference=record.reference,
        fields=dict(sorted(fields.items())),
        add_tags=tuple(sorted(goal.tags - tags)),
        remove_tags=tuple(sorted((holds.tags | doubtful.tags) - goal.tags)),
        join=goal.segments - segments,
        leave=(holds.segments | doubtful.segments) - goal.segments,
        values=goal,
        told=told,
    )
