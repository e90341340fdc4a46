"""What a target's settings may say, by kind: how tiers are cut, which days are asked for, which labels are a risk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _

from segmentation.models import AttributeDefinition, Target

QUANTILES, MONEY = "quantiles", "money"
TIER_COUNT, MOST_TIERS = 3, 20
NEXT_DAYS = (7, 30, 90)
MOST_DAYS = 10
MOST_HORIZON = 730
LABELLED, ANOMALY = "labelled", "anomaly"
CLUSTER_METHODS = ("auto", "kmeans", "ward", "mixture")
MOST_CLUSTERS = 20
YES, NO = "yes", "no"
LATER = "later"
NO_SPEND = "none"
# Names that staff know; more tiers than these are numbered.
TIER_NAMES: Final[dict[int, tuple[str, ...]]] = {
    2: ("low", "high"),
    3: ("low", "middle", "high"),
    4: ("low", "middle", "high", "top"),
    5: ("lowest", "low", "middle", "high", "top"),
}
LABEL_KINDS = (
    AttributeDefinition.Kind.TEXT,
    AttributeDefinition.Kind.CHOICE,
    AttributeDefinition.Kind.BOOLEAN,
)


class TargetError(Exception):
    """A target that cannot be made or learned; the message says what to do."""


@dataclass(frozen=True)
class Tiers:
    """How spend is cut: at quantiles of the buyers' spend, or at `borders` in major units, rising."""

    by: str = QUANTILES
    count: int = TIER_COUNT
    borders: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return TIER_NAMES.get(self.count) or tuple(f"tier_{number}" for number in range(1, self.count + 1))

    @property
    def classes(self) -> tuple[str, ...]:
        """From nothing to the highest tier."""
        return (NO_SPEND, *self.names)


def tiers(target: Target) -> Tiers:
    stored = target.settings.get("tiers") or {}
    return Tiers(
        by=stored.get("by", QUANTILES),
        count=int(stored.get("count", TIER_COUNT)),
        borders=tuple(float(border) for border in stored.get("borders", ())),
    )


def next_days(target: Target) -> tuple[int, ...]:
    """Days within which an order is asked for, rising; the last is the horizon."""
    return tuple(int(day) for day in target.settings.get("days", NEXT_DAYS))


def next_classes(target: Target) -> tuple[str, ...]:
    return (*(within(day) for day in next_days(target)), LATER)


def within(day: int) -> str:
    return f"within_{day}"


def positives(target: Target) -> tuple[str, ...]:
    """The labels that count as the risk."""
    return tuple(str(name) for name in target.settings.get("positive", (YES,)))


def risk_method(target: Target) -> str:
    """Labelled where there is a column of labels, unless the target says to look for what is unusual."""
    return str(target.settings.get("method") or (LABELLED if target.attribute_id else ANOMALY))


def cluster_method(target: Target) -> tuple[str, int]:
    """(method, number of groups or 0 for a number found from the data)."""
    return str(target.settings.get("method", "auto")), int(target.settings.get("count", 0))


def check(
    kind: str, given: Mapping[str, Any], *, attribute: AttributeDefinition | None, horizon_days: int
) -> tuple[dict[str, Any], int]:
    """(settings, horizon) of a target from what staff typed; raises TargetError with a sentence that says what to do.

    given: "tier_by", "tier_count", "borders", "days", "positive", "method", "count", as far as the kind asks, and
    "trusted": columns that may tell a label by themselves (leak_checks.py).
    """
    checks: dict[str, Callable[..., dict[str, Any]]] = {
        Target.Kind.VALUE_TIER: _tiers,
        Target.Kind.NEXT_ORDER: _days,
        Target.Kind.RISK: _risk,
        Target.Kind.CLUSTERS: _clusters,
        Target.Kind.CATEGORY: _category,
    }
    settings = checks.get(kind, _nothing)(given, attribute)
    if attribute is not None and (trusted := _words(given.get("trusted"))):
        settings["trusted"] = _known_columns(trusted)
    if kind == Target.Kind.NEXT_ORDER:
        horizon_days = settings["days"][-1]
    if not 1 <= horizon_days <= MOST_HORIZON:
        raise TargetError(_("The horizon is from 1 to %(most)s days.") % {"most": MOST_HORIZON})
    return settings, horizon_days


def require_one(campaign: object | None, offer: object | None, named: str = "") -> None:
    """An effect is of one campaign or of one offer. Raises TargetError."""
    if campaign is None and offer is None and named:
        raise TargetError(_("There is no campaign or offer called %(name)s.") % {"name": named})
    if (campaign is None) == (offer is None):
        raise TargetError(_("Choose the campaign, or else the offer, whose effect is to be learned."))


def numbers(text: Any) -> list[float]:
    """“100; 500” or a list as numbers. Raises TargetError."""
    parts = text if isinstance(text, Sequence) and not isinstance(text, str) else _parts(str(text or ""))
    try:
        found = [float(part) for part in parts]
    except ValueError as error:
        raise TargetError(_("Write numbers with commas between them, such as 100, 500.")) from error
    if not all(math.isfinite(number) for number in found):
        raise TargetError(_("Write numbers with commas between them, such as 100, 500."))
    return found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]


def _words(given: Any) -> list[str]:
    return _parts(given) if isinstance(given, str) else [str(word) for word in given or ()]


def _known_columns(named: list[str]) -> list[str]:
    unknown = set(named) - set(AttributeDefinition.objects.values_list("slug", flat=True))
    if unknown:
        raise TargetError(
            _("There is no column called %(names)s; use the short names of the attributes.")
            % {"names": ", ".join(sorted(unknown))}
        )
    return named


def _nothing(given: Mapping[str, Any], attribute: AttributeDefinition | None) -> dict[str, Any]:
    return {}


def _tiers(given: Mapping[str, Any], attribute: AttributeDefinition | None) -> dict[str, Any]:
    borders = numbers(given.get("borders"))
    if given.get("tier_by") == MONEY or (borders and not given.get("tier_by")):
        if not borders:
            raise TargetError(_("Write the amounts at which the tiers are cut, such as 100, 500."))
        if borders != sorted(set(borders)) or borders[0] <= 0:
            raise TargetError(_("The amounts must be above zero and rise, each above the one before."))
        if len(borders) + 1 > MOST_TIERS:
            raise TargetError(_("There are at most %(most)s tiers.") % {"most": MOST_TIERS})
        return {"tiers": {"by": MONEY, "count": len(borders) + 1, "borders": borders}}
    count = int(given.get("tier_count") or TIER_COUNT)
    if not 2 <= count <= MOST_TIERS:
        raise TargetError(_("There are from 2 to %(most)s tiers.") % {"most": MOST_TIERS})
    # The usual three are the default: older targets carry no settings.
    return {} if count == TIER_COUNT else {"tiers": {"by": QUANTILES, "count": count}}


def _days(given: Mapping[str, Any], attribute: AttributeDefinition | None) -> dict[str, Any]:
    days = numbers(given.get("days")) or list(NEXT_DAYS)
    whole = [int(day) for day in days]
    if whole != days or whole != sorted(set(whole)) or whole[0] < 1 or whole[-1] > 365:
        raise TargetError(_("Write whole days that rise, from 1 to 365, such as 7, 30, 90."))
    if len(whole) > MOST_DAYS:
        raise TargetError(_("Ask for at most %(most)s spans of days.") % {"most": MOST_DAYS})
    return {"days": whole}


def _category(given: Mapping[str, Any], attribute: AttributeDefinition | None) -> dict[str, Any]:
    if attribute is None:
        raise TargetError(_("A category needs the column that holds its labels."))
    _require_classes(attribute)
    return {}


def _risk(given: Mapping[str, Any], attribute: AttributeDefinition | None) -> dict[str, Any]:
    method = given.get("method") or (LABELLED if attribute is not None else ANOMALY)
    if method not in {LABELLED, ANOMALY}:
        raise TargetError(_("A risk is learned from labels (labelled) or from what is unusual (anomaly)."))
    if attribute is None:
        if method == LABELLED:
            raise TargetError(
                _("A risk that is learned needs the column in which your staff marked examples. "
                  "Without one choose “anomaly”.")
            )  # fmt: skip
        return {"method": ANOMALY}
    _require_classes(attribute)
    positive = _words(given.get("positive"))
    if not positive and attribute.kind == AttributeDefinition.Kind.BOOLEAN:
        positive = [YES]
    if not positive:
        raise TargetError(
            _("Say which labels of “%(column)s” are the risk, such as fraud.") % {"column": attribute.label}
        )
    return {"method": method, "positive": positive}


def _clusters(given: Mapping[str, Any], attribute: AttributeDefinition | None) -> dict[str, Any]:
    method, count = given.get("method") or "auto", int(given.get("count") or 0)
    if method not in CLUSTER_METHODS:
        raise TargetError(_("Groups are found by: %(methods)s.") % {"methods": ", ".join(CLUSTER_METHODS)})
    if count and not 2 <= count <= MOST_CLUSTERS:
        raise TargetError(
            _("There are from 2 to %(most)s groups; 0 lets the data say.") % {"most": MOST_CLUSTERS}
        )
    return {"method": method, "count": count}


def _require_classes(attribute: AttributeDefinition) -> None:
    if attribute.kind not in LABEL_KINDS:
        raise TargetError(
            _("“%(name)s” holds no classes: a label is text, one of a list, or yes or no.")
            % {"name": attribute.slug}
        )
