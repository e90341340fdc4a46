"""The one page about a model version that anyone can read: what it predicts, from what, how well, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from segmentation import registry, targets
from segmentation.dashboard import model_page, structure_page, words
from segmentation.dashboard.model_words import GROUPS, LOWER_IS_BETTER, METRICS, algorithm
from segmentation.models import ArtifactChunk, ModelVersion, Shop, Target
from segmentation.reports import simplest_first

# Fewer test customers than this leave wide intervals, and that is said.
FEW = 500
WEAK = 0.05
FORMAT = 1


@dataclass(frozen=True)
class TargetCard:
    """Sentences for one target, in the order of the page."""

    name: str
    slug: str
    predicts: str
    scored: str
    quality: tuple[str, ...]
    beside: tuple[str, ...]
    calibration: tuple[str, ...]
    subgroups: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """format: grows when a key changes its meaning."""

    format: int
    version: int
    title: str
    shop: str
    made: str
    data: tuple[str, ...]
    targets: tuple[TargetCard, ...]
    limits: tuple[str, ...]
    privacy: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    features: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def card(version: ModelVersion) -> Card:
    """Read from what was stored with the version; nothing is computed anew."""
    shop = Shop.get()
    served = list(version.targets.select_related("attribute").order_by("slug"))
    return Card(
        format=FORMAT,
        version=version.number,
        title=_("Version %(number)s: %(algorithm)s")
        % {"number": version.number, "algorithm": algorithm(version.algorithm)},
        shop=shop.name,
        made=words.moment(version.created_at),
        data=tuple(_data(version)),
        targets=tuple(_target(version, target, shop) for target in served),
        limits=tuple(_limits(version, served)),
        privacy=tuple(_privacy(version)),
        versions=tuple(_versions(version)),
        features=tuple(version.features),
    )


def _data(version: ModelVersion) -> Iterator[str]:
    data = version.data_snapshot
    days = sorted(data.get("cutoffs", {}))
    if days:
        yield _(
            "It learned from %(rows)s rows of %(customers)s customers, as they were on %(days)s between %(first)s "
            "and %(last)s."
        ) % {
            "rows": words.number(data.get("rows", 0)),
            "customers": words.number(data.get("customers", 0)),
            "days": _("%(count)s days") % {"count": len(days)} if len(days) > 1 else _("one day"),
            "first": _day(days[0]),
            "last": _day(days[-1]),
        }
    if data.get("test_rows"):
        yield _("It was tested on %(rows)s customers as of %(day)s, whose answers it had not seen.") % {
            "rows": words.number(data["test_rows"]),
            "day": _day(data.get("test_cutoff", "")),
        }
    if data.get("sha256"):
        yield _("Fingerprint of what it learned from: %(hash)s.") % {"hash": data["sha256"][:16]}


def _day(text: str) -> str:
    day = parse_date(text) if text else None
    return words.day(day) if day else text


def _target(version: ModelVersion, target: Target, shop: Shop) -> TargetCard:
    found: Mapping[str, Any] = version.evaluation.get(target.slug) or {}
    return TargetCard(
        name=target.name,
        slug=target.slug,
        predicts=targets.definition(target),
        scored=_scored(target),
        quality=tuple(_found(version, target, found)) or tuple(_quality(found, shop)),
        beside=tuple(_beside(found)),
        calibration=tuple(_calibration(found)),
        subgroups=tuple(_subgroups(found)),
    )


def _scored(target: Target) -> str:
    if targets.is_labelled(target):
        return _("Everybody who may be profiled gets an answer, with or without orders.")
    return _(
        "Customers with an order in the last 365 days who may be profiled get an answer; everybody else gets the "
        "reason why there is none."
    )


def _found(version: ModelVersion, target: Target, found: Mapping[str, Any]) -> Iterator[str]:
    """What a training without labels found, row by row, and how marked customers rank where there are any."""
    structure = structure_page.build(version, target, found)
    if structure is None:
        return
    yield from structure.lines
    if structure.table is not None:
        for row in structure.table.rows:
            yield "; ".join(
                f"{header}: {cell}" for header, cell in zip(structure.table.headers, row, strict=True)
            )
    if found.get("metrics"):
        yield from _quality(found, Shop.get())


def _quality(found: Mapping[str, Any], shop: Shop) -> Iterator[str]:
    """The main figures with their intervals as sentences."""
    metrics = found.get("metrics", {})
    if not metrics:
        yield _("No labels were there to judge it by.")
        return
    sentences = {
        "auc": _(
            "Of two customers of whom one is a case, it ranks the right one first in %(value)s of 100 pairs "
            "(%(low)s to %(high)s); chance is 50."
        ),
        "accuracy": _("It puts %(value)s of 100 customers in the right class (%(low)s to %(high)s)."),
        "qwk": _(
            "Its classes agree with the true ones to %(value)s of 100 beyond chance, a far miss counting more than "
            "a near one (%(low)s to %(high)s)."
        ),
        "gini": _("Its order of customers by value is worth %(value)s of 100 of a perfect order (%(low)s to %(high)s)."),
        "coverage": _(
            "The stated interval held for %(value)s of 100 customers (%(low)s to %(high)s); "
            "it is made to hold for 80."
        ),
    }  # fmt: skip
    for name, sentence in sentences.items():
        if name in metrics:
            yield sentence % {key: words.number(100 * metrics[name][key]) for key in ("value", "low", "high")}
    if "mae" in metrics:
        yield _(
            "Typically it is off by %(value)s a customer (%(low)s to %(high)s)."
        ) % {key: words.major(metrics["mae"][key], shop.base_currency) for key in ("value", "low", "high")}  # fmt: skip
    if "bias" in metrics:
        yield _("The total it expected was off by %(value)s (%(low)s to %(high)s).") % {
            key: words.percent(metrics["bias"][key]) for key in ("value", "low", "high")
        }


def _beside(found: Mapping[str, Any]) -> Iterator[str]:
    """Each baseline, and whether the difference on the same customers is clear."""
    metric = found.get("primary", "")
    differences = found.get("differences", {})
    for other in sorted(differences, key=simplest_first):
        difference = differences[other].get(metric)
        if difference is None:
            continue
        better = (difference["value"] > 0) != (metric in LOWER_IS_BETTER)
        clear = difference["low"] > 0 or difference["high"] < 0
        given = {
            "other": str(algorithm(other)),
            "metric": str(METRICS.get(metric, (metric,))[0]),
            "difference": f"{difference['value']:+.3f}",
            "low": f"{difference['low']:+.3f}",
            "high": f"{difference['high']:+.3f}",
        }
        if not clear:
            yield (
                _("Not clearly different from %(other)s: %(metric)s %(difference)s (%(low)s to %(high)s).")
                % given
            )
        elif better:
            yield _("Clearly better than %(other)s: %(metric)s %(difference)s (%(low)s to %(high)s).") % given
        else:
            yield _("Clearly worse than %(other)s: %(metric)s %(difference)s (%(low)s to %(high)s).") % given


def _calibration(found: Mapping[str, Any]) -> Iterator[str]:
    error = found.get("metrics", {}).get("calibration_error")
    if error:
        yield _("On average a stated chance is off by %(value)s points (%(low)s to %(high)s).") % {
            key: words.number(100 * error[key], 1) for key in ("value", "low", "high")
        }
    bins = found.get("curves", {}).get("reliability") or []
    for part in bins[:: max(len(bins) - 1, 1)]:
        yield _("Of customers told about %(said)s it came true for %(seen)s (%(rows)s customers).") % {
            "said": words.percent(part["predicted"]),
            "seen": words.percent(part["observed"]),
            "rows": words.number(part["rows"]),
        }


def _subgroups(found: Mapping[str, Any]) -> Iterator[str]:
    """Every group that was large enough, and whether it clearly falls behind the whole."""
    metric = found.get("primary", "")
    whole = found.get("metrics", {}).get(metric, {}).get("value")
    for group, values in sorted(found.get("subgroups", {}).items()):
        parts = [
            f"{value} {model_page.with_interval(metric, figure)}"
            for value, figure in values.items()
            if metric in figure
        ]
        if parts:
            yield _("By %(group)s, %(metric)s: %(parts)s.") % {
                "group": GROUPS.get(group, group),
                "metric": METRICS.get(metric, (metric,))[0],
                "parts": "; ".join(parts),
            }
        weak = [
            str(value)
            for value, figure in values.items()
            if whole is not None and figure.get("high", whole) < whole - WEAK
        ]
        if weak:
            yield _("Clearly weaker there: %(values)s.") % {"values": ", ".join(weak)}


def _limits(version: ModelVersion, served: list[Target]) -> Iterator[str]:
    yield from version.data_snapshot.get("warnings", ())
    for target in served:
        found = version.evaluation.get(target.slug) or {}
        if found.get("not_promised"):
            yield str(found["not_promised"])
        if found.get("rows") and found["rows"] < FEW:
            yield _(
                "“%(target)s” was tested on %(rows)s customers only: read the intervals, not the single figures."
            ) % {"target": target.name, "rows": words.number(found["rows"])}
        if registry.champion(target) != version:
            yield _("It does not serve “%(target)s” now.") % {"target": target.name}
    yield _(
        "It says what customers like this one did before. It does not know why, nor what would happen if you act; "
        "holdout groups measure that."
    )
    yield _(
        "A value that was not there when it learned counts as unknown; a new kind of customer is answered like the "
        "nearest known."
    )


def _privacy(version: ModelVersion) -> Iterator[str]:
    yield _(
        "It learned from customers who may be profiled. Names, addresses, e-mail and telephone never reach it; "
        "customers are numbers to it."
    )
    own = [name.removeprefix("attribute.") for name in version.features if name.startswith("attribute.")]
    if own:
        yield _("Of the shop's own columns it reads: %(columns)s.") % {"columns": ", ".join(own)}
    if kept := version.config.get("privacy"):
        yield from _differential_privacy(kept)
    else:
        yield _("It was trained without differential privacy.")


def _differential_privacy(kept: Mapping[str, Any]) -> Iterator[str]:
    yield _(
        "It was trained with differential privacy: ε = %(epsilon)s, δ = %(delta)s. Whether one of the %(customers)s "
        "customers was learned from changes the chance of any set of weights at most by the factor e to the ε, but for "
        "a chance of δ."
    ) % {
        "epsilon": words.number(kept["epsilon"], 2),
        "delta": f"{kept['delta']:.1e}",
        "customers": words.number(kept["customers"]),
    }
    yield _(
        "All days of a customer count as one: their gradient was cut to a length of %(clip)s, and noise of %(noise)s "
        "times that was added in each step, for which %(share)s of the customers were drawn."
    ) % {
        "clip": words.number(kept["clip"], 2),
        "noise": words.number(kept["noise"], 2),
        "share": words.percent(kept["rate"]),
    }
    yield _(
        "ε speaks of the weights. Scales of columns, lists of categories, the calibrator and the rule for classes are "
        "shop-wide numbers made without noise; the baselines beside it were trained without."
    )


def _versions(version: ModelVersion) -> Iterator[tuple[str, str]]:
    yield _("Seed"), str(version.seed)
    yield _("Device"), version.device
    yield _("Set of features"), version.catalogue_version
    yield _("Fingerprint of its files"), version.artifact_sha256[:16]
    if members := list(version.members.order_by("number")):
        yield _("Members of the blend"), ", ".join(f"{one.number} ({one.algorithm})" for one in members)
    for name, number in sorted(_libraries(version).items()):
        yield name, str(number)


def _libraries(version: ModelVersion) -> Mapping[str, Any]:
    """Library versions from the stored manifest; {} once the files are gone."""
    chunk = ArtifactChunk.objects.filter(version=version, file_name="manifest.json", number=0).first()
    if chunk is None:
        return {}
    try:
        found = json.loads(bytes(chunk.content))
    except ValueError:
        return {}
    libraries = found.get("libraries", {}) if isinstance(found, dict) else {}
    return libraries if isinstance(libraries, dict) else {}
