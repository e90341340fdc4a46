"""An estimate of another choice of offers, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.models import Campaign, Offer, PolicyEstimate, Shop
from segmentation.rules import fields as rule_fields

ESTIMATORS = {
    "dr": gettext_lazy("Doubly robust (read this one)"),
    "snips": gettext_lazy("Weighted, self-normalised"),
    "ips": gettext_lazy("Weighted by chance"),
}
LIMITS = (
    gettext_lazy(
        "Each customer counts once: with what the campaign first drew for them, or when it first held them out."
    ),
    gettext_lazy(
        "Whom another campaign, a cap or a budget kept from what was drawn counts as drawn; those of the other choice are "
        "not applied."
    ),
    gettext_lazy("It is how things went then; customers may respond otherwise another time."),
)
WHY_NOT = {
    "deterministic": gettext_lazy(
        "Nothing was left to chance: every customer could get one thing only, so nothing is known of anything else. "
        "Let the campaign learn with at least two rules that fit the same customers."
    ),
    "thin_overlap": gettext_lazy(
        "The campaign did what the other choice would do too seldom: what is left tells too little. Let it run longer."
    ),
}


def choices(campaign: Campaign) -> dict[str, Any]:
    """What an estimate can be asked of, for the form; empty where the campaign draws nothing."""
    if campaign.choice != Campaign.Choice.SAMPLING:
        return {}
    others = Campaign.objects.exclude(pk=campaign.pk).exclude(status=Campaign.Status.ENDED).order_by("name")
    given = Offer.objects.filter(rules__campaign=campaign).distinct().order_by("name")
    return {"others": others[:200], "given": given}


def context(row: PolicyEstimate | None, shop: Shop) -> dict[str, Any]:
    if row is None:
        return {"estimate": None}
    if row.error and not row.result:
        return {"estimate": row, "error": row.error}
    found: Mapping[str, Any] = row.result
    return {
        "estimate": row,
        "other": row.other.name if row.other else _("%(offer)s for everybody") % {"offer": row.offer},
        "figures": list(_figures(found)),
        "refusal": _refusal(row, found),
        "answer": _answer(found, shop) if "bought" in found else "",
        "table": _table(found, shop) if "bought" in found else None,
        "shares": _shares(found) if found.get("offers") else None,
        "cost": _cost(found, shop) if found.get("offers") else "",
        "limits": [str(limit) for limit in LIMITS],
        "sampled": found.get("sampled", False),
    }


def _figures(found: Mapping[str, Any]) -> Iterator[str]:
    yield _("%(count)s customers, %(held)s of them held out") % {
        "count": words.number(found["rows"]),
        "held": words.number(found["held_out"]),
    }
    left = found.get("left_out", {})
    if left.get("not_over"):
        yield _("%(count)s not followed long enough yet") % {"count": words.number(left["not_over"])}
    if left.get("undrawn"):
        yield _("%(count)s had it without a draw") % {"count": words.number(left["undrawn"])}
    if "overlap" in found:
        yield _("tells as much as %(count)s decisions of the other choice") % {
            "count": words.number(round(found["overlap"]["effective"]))
        }


def _refusal(row: PolicyEstimate, found: Mapping[str, Any]) -> str:
    code = found.get("refusal")
    if code is None:
        return ""
    if code == "too_few":
        return _(
            "Too few customers: %(count)s, and at least %(needed)s are needed, each followed for %(days)s days."
        ) % {
            "count": words.number(found["rows"]),
            "needed": words.number(found["needed"]),
            "days": row.horizon_days,
        }
    if code == "not_kept":
        return _(
            "The other choice asks about %(fields)s, which was not kept with the decisions of this campaign."
        ) % {"fields": ", ".join(_field(name) for name in found["fields"])}
    if code == "no_overlap":
        return _("%(share)s of what it would do could not happen in this campaign: %(what)s.") % {
            "share": words.percent(found["overlap"]["unseen"]),
            "what": _unseen(found),
        }
    return str(WHY_NOT[code])


def _unseen(found: Mapping[str, Any]) -> str:
    """What the other choice would do though it never had a chance, or not with those customers."""
    never = [one for one in found["offers"] if one["other"] > 0 and one["could"] == 0]
    named = _names(found)
    if any(one["offer"] is None for one in never):
        return _("it gives some nothing, and this campaign has no holdout to learn that from")
    if never:
        return _("%(offers)s was never given") % {"offers": ", ".join(named[one["offer"]] for one in never)}
    return _("it gives offers to customers who could not get them here")


def _field(name: str) -> str:
    field = rule_fields.find(rule_fields.registry(), name)
    return f"“{field.label if field else name}”"


def _answer(found: Mapping[str, Any], shop: Shop) -> str:
    gain, money = found["bought"]["gain"], found["spent"]["gain"]
    given = {
        "share": words.percent(found["bought"]["dr"]["value"], 1),
        "before": words.percent(found["bought"]["logged"]["value"], 1),
        "money": words.money(round(money["value"]), shop.base_currency),
        "low": words.money(round(money["low"]), shop.base_currency),
        "high": words.money(round(money["high"]), shop.base_currency),
    }
    if gain["low"] > 0:
        first = _("More would have ordered: %(share)s instead of %(before)s.")
    elif gain["high"] < 0:
        first = _("Fewer would have ordered: %(share)s instead of %(before)s.")
    else:
        first = _("No clear difference: %(share)s would have ordered, %(before)s did.")
    second = _("Each would have spent %(money)s more (%(low)s to %(high)s).")
    return f"{first % given} {second % given}"


def _table(found: Mapping[str, Any], shop: Shop) -> Table:
    def share(one: Mapping[str, float]) -> str:
        return _range(*(words.percent(one[name], 1) for name in ("value", "low", "high")))

    def money(one: Mapping[str, float]) -> str:
        shown = (words.money(round(one[name]), shop.base_currency) for name in ("value", "low", "high"))
        return _range(*shown)

    rows = [
        (str(label), share(found["bought"][name]), money(found["spent"][name]))
        for name, label in ESTIMATORS.items()
    ]
    did = (_("What this campaign did"), share(found["bought"]["logged"]), money(found["spent"]["logged"]))
    return Table((_("Estimate"), _("Ordered"), _("Spent each")), (did, *rows))


def _range(value: str, low: str, high: str) -> str:
    return _("%(value)s (%(low)s to %(high)s)") % {"value": value, "low": low, "high": high}


def _shares(found: Mapping[str, Any]) -> Table:
    named = _names(found)
    rows = tuple(
        (named[one["offer"]], words.percent(one["logged"]), words.percent(one["other"]))
        for one in found["offers"]
    )
    return Table((_("Offer"), _("This campaign drew"), _("The other would give")), rows)


def _names(found: Mapping[str, Any]) -> dict[int | None, str]:
    keys = [one["offer"] for one in found["offers"]]
    known = dict(Offer.objects.filter(pk__in=[key for key in keys if key]).values_list("pk", "name"))
    return {None: _("nothing")} | {key: known.get(key, f"#{key}") for key in keys if key}


def _cost(found: Mapping[str, Any], shop: Shop) -> str:
    return _("Offers cost %(other)s a customer; here they cost %(logged)s.") % {
        name: words.money(round(found["cost_minor"][name]), shop.base_currency)
        for name in ("other", "logged")
    }
