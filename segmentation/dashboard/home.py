"""The first page staff see: the shop's customers today, what ran, what needs a look, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from segmentation import counts
from segmentation.dashboard import charts, run_page, schedules, words
from segmentation.models import (
    Alert,
    ImportRun,
    ModelSlot,
    Offer,
    ScoringRun,
    Segment,
    Shop,
    TrainingRun,
)

RECENT = 5
SEGMENTS_SHOWN = 12
BIAS = (("bias", "value"), ("low", "low"), ("high", "high"))


@dataclass(frozen=True)
class Figure:
    label: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Step:
    """Something to do next; `url` empty when the person may not do it. `post`: the link is a button that acts."""

    title: str
    text: str
    is_done: bool
    url: str = ""
    button: str = ""
    post: bool = False


@dataclass(frozen=True)
class RecentRun:
    what: str
    url: str
    state: str
    tone: str
    at: datetime


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's dashboard callback."""
    if not request.user.has_perm("segmentation.view_customer"):
        return context
    shop = Shop.get()
    numbers = counts.read()
    steps = _steps(request, numbers)
    return {
        **context,
        "title": _("Home"),
        "shop": shop,
        "figures": _figures(numbers, shop),
        "charts": _charts(numbers),
        "steps": steps if not all(step.is_done for step in steps) else [],
        "alerts": _alerts(request),
        "recent_runs": _recent(request),
        "schedules": schedules.read(shop) if request.user.has_perm("segmentation.view_scoringrun") else (),
    }


def _figures(numbers: counts.Counts, shop: Shop) -> list[Figure]:
    leaves = words.RISK_BANDS[-1]
    risky = sum(numbers.risk_bins[round(leaves.low * counts.RISK_BINS) :])
    urgent = sum(count for level, count in numbers.priorities.items() if level >= 3)
    offered = sum(count for offer, count in numbers.offers.items() if offer is not None)
    scored = numbers.scored or 1
    return [
        Figure(
            _("Customers"),
            words.number(numbers.customers),
            _("%(scored)s with scores") % {"scored": words.number(numbers.scored)},
        ),
        Figure(
            _("Expected spend, all customers"),
            # A figure in a narrow card may break before its currency, not within it.
            words.money(numbers.future_value_minor, shop.base_currency, whole=True).replace(words.NARROW, " ")
            if numbers.scored
            else words.NOTHING,
            _total_note() if numbers.scored else "",
        ),
        Figure(
            _("Likely to stop buying (%(low)s or more)") % {"low": words.percent(leaves.low)},
            words.number(risky),
            _("%(share)s of the scored") % {"share": words.percent(risky / scored)} if numbers.scored else "",
        ),
        Figure(_("With an offer"), words.number(offered)),
        Figure(_("High or urgent service"), words.number(urgent)),
    ]


def _total_note() -> str:
    """How far off such a total was when the serving version was tested."""
    slot = ModelSlot.objects.filter(target__kind="future_value").select_related("champion", "target").first()
    if slot is None or slot.champion is None:
        return ""
    evaluation = slot.champion.evaluation.get(slot.target.slug) or {}
    bias = evaluation.get("metrics", {}).get("bias")
    if bias is None:
        return _("over the next %(days)s days") % {"days": slot.target.horizon_days}
    return _(
        "over the next %(days)s days; in the test the total was off by %(bias)s (%(low)s to %(high)s)"
    ) % {
        "days": slot.target.horizon_days,
        # “-18 %” stays on one line of a narrow card.
        **{name: words.percent(bias[key]).replace(" ", words.NARROW) for name, key in BIAS},
    }


def _charts(numbers: counts.Counts) -> list[charts.Chart]:
    offers: dict[int | None, str] = dict(Offer.objects.values_list("pk", "name"))
    offer_rows = [(offers.get(pk, _("No offer")), count) for pk, count in numbers.offers.items()]
    segments = Segment.objects.filter(is_active=True).order_by("-member_count")[:SEGMENTS_SHOWN]
    drawn = [
        charts.bars("tiers", _("Customers by value tier"), run_page.tiers(numbers.tiers)),
        _risk_chart(numbers),
        charts.bars(
            "segments",
            _("Segments"),
            list(segments.values_list("name", "member_count")),
            horizontal=True,
            colors=["blue"],
        ),
        charts.bars(
            "offers",
            _("Customers by offer"),
            sorted(offer_rows, key=lambda row: -row[1]),
            horizontal=True,
            colors=["teal"],
        ),
        charts.bars(
            "priorities", _("Customers by service priority"), run_page.priorities(numbers.priorities)
        ),
    ]
    return [chart for chart in drawn if any(chart.config["data"]["datasets"][0]["data"])]


def _risk_chart(numbers: counts.Counts) -> charts.Chart:
    tones = {"good": "teal", "warn": "amber", "bad": "rose"}
    step = 1 / counts.RISK_BINS
    rows = [
        (
            _("%(low)s–%(high)s %%") % {"low": round(100 * i * step), "high": round(100 * (i + 1) * step)},
            count,
        )
        for i, count in enumerate(numbers.risk_bins)
    ]
    colors = [tones[words.risk_band((i + 0.5) * step).tone] for i in range(counts.RISK_BINS)]
    return charts.bars("risk", _("Customers by chance to stop buying"), rows, colors=colors)


def _steps(request: HttpRequest, numbers: counts.Counts) -> list[Step]:
    def link(permission: str, name: str) -> str:
        return reverse(f"admin:{name}") if request.user.has_perm(f"segmentation.{permission}") else ""

    return [
        Step(
            _("Import orders"),
            _("A file of past orders is enough: CSV, Parquet or XLSX."),
            numbers.customers > 0,
            link("add_importrun", "segmentation_importrun_upload"),
            _("Import a file"),
        ),
        Step(
            _("Train"),
            _("Learn from the past who stops buying and who will spend how much."),
            ModelSlot.objects.filter(champion__isnull=False).exists(),
            link("add_trainingrun", "segmentation_trainingrun_train"),
            _("Train"),
        ),
        Step(
            _("Classify"),
            _("Score every customer and fill segments, offers and service priorities."),
            numbers.scored > 0,
            link("add_scoringrun", "segmentation_scoringrun_start"),
            _("Classify now"),
            post=True,
        ),
    ]


def _alerts(request: HttpRequest) -> QuerySet[Alert]:
    if not request.user.has_perm("segmentation.view_alert"):
        return Alert.objects.none()
    return Alert.objects.filter(resolved_at=None).order_by("-id")[:RECENT]


def _recent(request: HttpRequest) -> list[RecentRun]:
    kinds: list[tuple[Any, str, str]] = [
        (ImportRun, _("Import"), "importrun"),
        (TrainingRun, _("Training"), "trainingrun"),
        (ScoringRun, _("Classification"), "scoringrun"),
    ]
    runs = []
    for model, what, name in kinds:
        if not request.user.has_perm(f"segmentation.view_{name}"):
            continue
        for run in model.objects.only("id", "state", "created_at").order_by("-id")[:RECENT]:
            url = reverse(f"admin:segmentation_{name}_change", args=[run.pk])
            tone = words.STATE_TONES[run.state]
            runs.append(RecentRun(f"{what} #{run.pk}", url, run.get_state_display(), tone, run.created_at))
    return sorted(runs, key=lambda run: run.at, reverse=True)[:RECENT]
