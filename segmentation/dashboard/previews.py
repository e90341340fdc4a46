"""Whom a rule would reach, for the rule builder: JSON in, JSON out."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from segmentation import choices, exact_counts, previews, rule_test
from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.models import Campaign, Customer, Segment, Shop
from segmentation.models.customers import PriorityLevel
from segmentation.rules import language
from segmentation.rules.explain import ConditionVerdict, Verdict
from segmentation.rules.language import RuleError
from segmentation.rules.sentences import sentence
from segmentation.rules.text import from_text, to_text


def answer(request: HttpRequest) -> dict[str, Any]:
    """Body: {"rule": JSON or null, or "text": the rule as text, "segment": id or null, "exact": true, "customer": number}.

    Either the reach, with the rule in its other form, or {"problem": {path, message}}. Without "exact" a quick look,
    which says whether it is final; with "exact" {"waiting": true} while a worker counts; with "customer" what each
    condition says of that customer.
    """
    try:
        asked = json.loads(request.body or b"{}")
        segment = Segment.objects.filter(pk=asked["segment"]).first() if asked.get("segment") else None
        rule = _rule(asked)
        if asked.get("customer"):
            return _tested(rule, segment, str(asked["customer"]))
        exact = bool(asked.get("exact"))
        if exact and not previews.is_countable_now():
            return _counted_beside(rule, segment, request)
        found = previews.reach(rule, segment=segment, quick=not exact, beside=not exact)
    except RuleError as error:
        return _problem(error.path, error.message)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return _problem("", _("The rule could not be read."))
    return {**shown(found), "exact": exact, "final": exact or found.is_exact, **_said(rule)}


def _counted_beside(rule: Any, segment: Segment | None, request: HttpRequest) -> dict[str, Any]:
    """Counted by a worker: {"waiting": true} until it has; the page asks again."""
    found = exact_counts.ask(rule, segment=segment, by=request.user)
    if found is None:
        return {"waiting": True}
    return {**shown(found), "exact": True, "final": True, **_said(rule)}


def _rule(asked: dict[str, Any]) -> Any:
    """The rule as JSON, whichever way it was sent."""
    if "text" not in asked:
        return asked.get("rule")
    text = str(asked["text"])
    return language.to_json(from_text(text)) if text.strip() else None


def _said(rule: Any) -> dict[str, Any]:
    """The rule in its three forms."""
    if rule is None:
        return {"rule": None, "text": "", "words": ""}
    node = language.parse(rule)
    return {"rule": language.to_json(node), "text": to_text(node), "words": sentence(node)}


def _tested(rule: Any, segment: Segment | None, reference: str) -> dict[str, Any]:
    """What every condition says of one customer."""
    verdict = rule_test.test(rule, segment=segment, reference=reference)
    if verdict is None:
        return {
            "test": {
                "problem": _("No classified customer has the number “%(number)s”.") % {"number": reference}
            }
        }
    return {
        "test": {
            "holds": verdict.holds,
            "title": _("%(customer)s fits") % {"customer": verdict.reference}
            if verdict.holds
            else _("%(customer)s does not fit") % {"customer": verdict.reference},
            "url": reverse("admin:segmentation_customer_change", args=[verdict.customer_id]),
            "tree": _verdict(verdict.explained.tree),
            "note": _("Uses predictions, and the customer is not profiled.") if verdict.not_profiled else "",
        }
    }


def _verdict(tree: Verdict) -> dict[str, Any]:
    if isinstance(tree, ConditionVerdict):
        return {"holds": tree.holds, "sentence": tree.sentence, "reason": tree.reason}
    return {"holds": tree.holds, "kind": tree.kind, "children": [_verdict(child) for child in tree.children]}


def shown(reach: previews.Reach) -> dict[str, Any]:
    return {
        "count": words.number(reach.count),
        "sentence": _reach_sentence(reach),
        "tiers": [
            {
                "label": str(words.tier(tier)) if tier else _("no score"),
                "count": count,
                "shown": words.number(count),
            }
            for tier, count in sorted(reach.by_tier.items(), key=_tier_order)
        ],
        "sample": [
            {"reference": reference, "url": reverse("admin:segmentation_customer_change", args=[pk])}
            for pk, reference in reach.sample
        ],
        "overlaps": [
            {
                "name": one.name,
                "of_draft": words.percent(one.of_draft),
                "of_segment": words.percent(one.of_segment),
                "share": one.of_draft,
            }
            for one in reach.beside.overlaps
        ],
        "spreads": [
            {
                "label": str(spread.label),
                "bins": [
                    {
                        "label": str(one.label),
                        "share": one.of_draft,
                        "all": one.of_all,
                        "shown": words.percent(one.of_draft),
                        "shown_all": words.percent(one.of_all),
                    }
                    for one in spread.bins
                ],
            }
            for spread in reach.beside.spreads
        ],
    }


def _tier_order(item: tuple[str, int]) -> int:
    known = list(words.TIERS)
    return known.index(item[0]) if item[0] in known else len(known)


def _reach_sentence(reach: previews.Reach) -> str:
    if not reach.total:
        return _("No customer has been classified yet; classify first to see numbers.")
    given = {"share": words.percent(reach.share, 1), "total": words.number(reach.total)}
    if reach.is_exact:
        return _("%(share)s of %(total)s classified customers") % given
    return _("%(share)s of %(total)s classified customers, give or take %(margin)s (from a sample)") % {
        **given,
        "margin": words.number(reach.margin),
    }


def campaign(reach: previews.CampaignReach, currency: str) -> dict[str, Any]:
    """Context of the panel “if it ran today”."""
    headers = (
        _("Rule"),
        _("Fits"),
        _("Gets it"),
        _("Held out"),
        _("No consent"),
        _("Another comes first"),
        _("Not now"),
    )
    rows = tuple(_rule_row(number, rule) for number, rule in enumerate(reach.rules, start=1))
    return {
        "total": words.number(reach.total),
        "gets": words.number(reach.gets),
        "margin": words.number(reach.margin) if reach.margin else "",
        "cost": words.money(reach.cost_minor, currency, whole=True),
        "table": Table(headers, rows),
        "outranked_by": [(name, words.number(count)) for name, count in reach.outranked_by.items()],
    }


def budget(campaign: Campaign, shop: Shop) -> dict[str, Any]:
    """What is left of the budget, and the last customer it reaches when gains are compared."""
    if campaign.budget_minor is None:
        return {}
    left = words.money(choices.left(campaign), shop.base_currency)
    total = words.money(campaign.budget_minor, shop.base_currency)
    lines = [_("%(left)s of the budget of %(total)s are left.") % {"left": left, "total": total}]
    if campaign.choice == Campaign.Choice.VALUE:
        lines += marginal(choices.margin(campaign), shop)
    return {"budget": lines}


def marginal(found: choices.Margin, shop: Shop) -> list[str]:
    """Whom a budget reaches last, and what it brings there rather than anywhere."""
    lines = [_border(found)]
    if found.reached:
        lines.append(
            _(
                "Expected: a gain of %(gain)s for %(cost)s; given to anybody who fits, the same money brings %(random)s."
            )
            % {
                "gain": words.money(found.gain_minor, shop.base_currency, whole=True),
                "cost": words.money(found.cost_minor, shop.base_currency, whole=True),
                "random": words.money(found.at_random_minor, shop.base_currency, whole=True),
            }
        )
    return lines


def _border(found: choices.Margin) -> str:
    given = {"reached": words.number(found.reached), "wanted": words.number(found.wanted)}
    if found.ratio is None:
        return _("It reaches all %(wanted)s who would get the offer.") % given
    customer = Customer.objects.filter(pk=found.customer_id or 0).values_list("reference", flat=True).first()
    return _(
        "It goes to the %(reached)s of %(wanted)s where it brings most; the last is %(customer)s, with a gain of "
        "%(ratio)s for each unit of money."
    ) % {**given, "customer": customer or "", "ratio": f"{found.ratio:.2f}"}


def _rule_row(number: int, rule: previews.RuleReach) -> tuple[str, ...]:
    title = _("%(rule)s: %(offer)s") % {"rule": rule.name or f"#{number}", "offer": rule.offer}
    counts = (rule.fits, rule.gets, rule.held_out, rule.no_consent, rule.outranked, rule.not_now)
    return (title, *(words.number(count) for count in counts))


def priority(reach: previews.PriorityReach) -> dict[str, Any]:
    """Context of the panel of a priority rule."""
    moves = [
        (PriorityLevel(before).label, PriorityLevel(after).label, words.number(count))
        for (before, after), count in reach.moves.items()
    ]
    return {
        "total": words.number(reach.total),
        "fits": words.number(reach.fits),
        "margin": words.number(reach.margin) if reach.margin else "",
        "changes": words.number(reach.changes),
        "moves": moves,
    }


def _problem(path: str, message: str) -> dict[str, Any]:
    return {"problem": {"path": path, "message": message}}
