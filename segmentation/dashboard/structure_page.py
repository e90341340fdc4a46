"""What a training without labels found: groups with their profiles, how many were tried, how the methods agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import group_profiles
from segmentation.dashboard import charts, words
from segmentation.features.names import column_label
from segmentation.models import ModelVersion, Target

SHOWN = ("orders_365d", "gap_mean_days", "order_value_mean", "recency_days")


@dataclass(frozen=True)
class Structure:
    lines: tuple[str, ...]
    table: charts.Table | None = None
    chart: charts.Chart | None = None


def build(version: ModelVersion, target: Target, found: Mapping[str, Any]) -> Structure | None:
    """None for versions that learned from labels."""
    if found.get("kind") == "clusters":
        profiles = version.config.get("profiles", {})
        return Structure(tuple(_group_lines(found)), _groups(profiles), _choice(target.slug, found))
    if found.get("kind") == "anomaly":
        return Structure(tuple(_anomaly_lines(found)))
    if found.get("kind") == "next_products":
        return Structure(tuple(_product_lines(found)), _products(found))
    return None


def _group_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield _("%(count)s groups among %(customers)s customers.") % {
        "count": found["chosen"],
        "customers": words.number(found["rows"]),
    }
    if found.get("agreement") is not None:
        yield _("%(share)s of the customers are in the group they were in before.") % {
            "share": words.percent(found["agreement"])
        }


def _groups(profiles: Mapping[str, Mapping[str, Any]]) -> charts.Table:
    headers = (
        _("Group"),
        _("Customers"),
        _("Share"),
        _("What they are like"),
        *(column_label(n) for n in SHOWN),
    )
    rows = tuple(
        (
            str(words.tier(name)),
            words.number(profile["customers"]),
            words.percent(profile["share"]),
            group_profiles.sentence(profile),
            *(_figure(profile["figures"].get(feature, (None, None))[0]) for feature in SHOWN),
        )
        for name, profile in sorted(profiles.items(), key=lambda item: -item[1]["customers"])
    )
    return charts.Table(tuple(map(str, headers)), rows)


def _figure(value: float | None) -> str:
    return words.NOTHING if value is None else words.number(value, 0 if abs(value) >= 10 else 1)


def _choice(slug: str, found: Mapping[str, Any]) -> charts.Chart | None:
    tried = found.get("choices", [])
    if len(tried) < 2:
        return None
    by_bic = tried[0]["measure"] == "bic"
    return charts.lines(
        f"{slug}-choice",
        _("How many groups"),
        _("BIC of each number of groups; the lowest was taken.")
        if by_bic
        else _(
            "Silhouette of each number of groups: how much closer customers are to their own; the highest was taken."
        ),
        [
            charts.Line(
                "BIC" if by_bic else _("silhouette"),
                [(one["count"], one["value"]) for one in tried],
                dots=True,
            )
        ],
        charts.Axes(_("groups"), "BIC" if by_bic else _("silhouette"), x_min=2, y_min=None),
    )


def _anomaly_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield _("Set beside %(customers)s customers.") % {"customers": words.number(found["rows"])}
    yield _("The isolation forest and the autoencoder order customers alike to %(value)s of 100.") % {
        "value": words.number(100 * found.get("methods_agree", 0.0))
    }
    if found.get("examples"):
        yield _(
            "Judged below by %(count)s customers whom your staff have marked; it did not learn from them."
        ) % {"count": words.number(found["examples"])}


def _product_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield _(
        "Tested on %(customers)s customers who bought in the %(days)s days after %(day)s. “%(served)s” serves."
    ) % {
        "customers": words.number(found["rows"]),
        "days": found["horizon_days"],
        "day": found["test_day"],
        "served": METHODS.get(found["served"], found["served"]),
    }


METHODS: dict[str, words.Text] = {
    "popularity": gettext_lazy("What most customers buy"),
    "item_knn": gettext_lazy("Bought by the same customers (item-kNN)"),
    "factors": gettext_lazy("Matrix factorisation of who bought what"),
    "content": gettext_lazy("Like what the customer bought, by name and category"),
    "rules": gettext_lazy("Bought in one basket"),
}


def _products(found: Mapping[str, Any]) -> charts.Table:
    headers = (_("Method"), _("Recall in 10"), _("NDCG in 10"), _("Recall beside popularity"))
    rows = tuple(
        (
            str(METHODS.get(name, name)),
            _interval(figures["recall_10"]),
            _interval(figures["ndcg_10"]),
            _interval(found["differences"][name]["recall_10"])
            if name in found["differences"]
            else words.NOTHING,
        )
        for name, figures in sorted(found["methods"].items(), key=lambda item: -item[1]["recall_10"]["value"])
    )
    return charts.Table(headers, rows)


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4f} ({figure['low']:.4f} – {figure['high']:.4f})"
