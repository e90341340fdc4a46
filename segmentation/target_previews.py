"""How many customers would be in each class of a target, before anything is learned. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from django.db.models import Count
from django.utils.translation import gettext as _

from segmentation import labels, target_settings, targets, training_frames
from segmentation.features import store
from segmentation.features.days import midnight
from segmentation.models import AttributeDefinition, AttributeValue, Customer, Shop, Target
from segmentation.results import arms

# Customers read for a preview; of more the shares are those of a sample.
MOST, CHUNK, SALT = 20_000, 10_000, 107


@dataclass(frozen=True)
class Row:
    """A class by its name, how many customers, and what bounds it ("up to 320")."""

    name: str
    count: int
    bounds: str = ""


@dataclass(frozen=True)
class Preview:
    """rows: the classes as of `as_of`. sampled_of: customers of the shop, where only a sample was read, else 0."""

    as_of: date
    rows: tuple[Row, ...]
    sampled_of: int = 0
    warning: str = ""

    @property
    def total(self) -> int:
        return sum(row.count for row in self.rows)


def preview(target: Target, *, shop: Shop) -> Preview:
    """What `target`, saved or not, would find. Raises TargetError when there is nothing to count."""
    if targets.is_behaviour(target):
        return _behaviour(target, shop)
    if target.attribute is not None:
        return _labelled(target, shop)
    if target.kind == Target.Kind.UPLIFT:
        return _arms(target, shop)
    return _everybody(shop)


def _arms(target: Target, shop: Shop) -> Preview:
    """Whom its effect can be learned from."""
    as_of = shop.scoring_as_of()
    end = midnight(as_of - timedelta(days=target.horizon_days), shop.zone)
    places = arms.places(campaign=target.campaign_id, offer=target.offer_id)
    counts: Counter[int] = Counter()
    for chunk in store.sampled_chunks(CHUNK, most=MOST, salt=SALT):
        over = arms.read(chunk, places, shop=shop).filter(
            pl.col("since") <= end, (pl.col("share") > 0) & (pl.col("share") < 1)
        )
        counts.update(dict(over["arm"].value_counts().iter_rows()))
    survivors = Customer.objects.filter(merged_into__isnull=True).count()
    return Preview(
        as_of=as_of,
        rows=(
            Row(_("customers with the offer"), counts[arms.TREATED]),
            Row(_("customers held out"), counts[arms.HELD_OUT]),
        ),
        sampled_of=survivors if survivors > MOST else 0,
        warning=""
        if counts[arms.HELD_OUT]
        else _("Nobody was held out of it long enough ago, so its effect cannot be learned yet."),
    )


def _behaviour(target: Target, shop: Shop) -> Preview:
    days = training_frames.default_cutoffs(
        as_of=shop.scoring_as_of(), shop=shop, horizon_days=target.horizon_days
    )
    if not days:
        raise targets.TargetError(
            _(
                "There is too little history to count: a day with 90 days before it and %(days)s days after it is needed."
            )
            % {"days": target.horizon_days}
        )
    found = _after(days[-1], target.horizon_days, shop)
    if found.is_empty():
        raise targets.TargetError(_("No customer ordered in the year before %(day)s.") % {"day": days[-1]})
    survivors = Customer.objects.filter(merged_into__isnull=True).count()
    return Preview(
        as_of=days[-1],
        rows=_counted(target, found, shop),
        sampled_of=survivors if survivors > MOST else 0,
    )


def _after(cutoff: date, horizon_days: int, shop: Shop) -> pl.DataFrame:
    end = cutoff + timedelta(days=horizon_days)
    parts = []
    for chunk in store.sampled_chunks(CHUNK, most=MOST, salt=SALT):
        events = store.read_events(chunk, as_of=end, shop=shop, known_only=False)
        parts.append(
            labels.label(
                events,
                cutoff=cutoff,
                zone=shop.zone,
                horizon_days=horizon_days,
                minor_per_major=shop.minor_per_major,
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame()


def _counted(target: Target, found: pl.DataFrame, shop: Shop) -> tuple[Row, ...]:
    spend = found["spend_ahead"].to_numpy()
    if target.kind == Target.Kind.CHURN:
        left = int(found["churn"].sum())
        return (Row(_("stops buying"), left), Row(_("stays"), found.height - left))
    if target.kind == Target.Kind.NEXT_ORDER:
        spans = labels.spans(found["next_order_days"].to_numpy(), target_settings.next_days(target))
        return _rows(targets.classes(target), spans)
    cuts = training_frames.tier_cuts(target, spend)
    names = targets.classes(target) or target_settings.Tiers().classes
    return _rows(names, labels.tiers(spend, cuts), _bounds(cuts, shop))


def _rows(names: Sequence[str], positions: np.ndarray, bounds: Sequence[str] = ()) -> tuple[Row, ...]:
    counts = np.bincount(positions[positions >= 0], minlength=len(names))
    said = [*bounds, *[""] * len(names)]
    return tuple(
        Row(name, int(count), bound) for name, count, bound in zip(names, counts, said, strict=False)
    )


def _bounds(cuts: Sequence[float], shop: Shop) -> list[str]:
    """What each tier spends, the one without spend first."""
    if not cuts:
        return []
    amounts = [f"{cut:,.2f} {shop.base_currency}" for cut in cuts]
    below = [_("up to %(amount)s") % {"amount": amount} for amount in amounts]
    return ["", *below, _("above %(amount)s") % {"amount": amounts[-1]}]


def _labelled(target: Target, shop: Shop) -> Preview:
    given = AttributeValue.objects.filter(definition=target.attribute, customer__is_profiled=True).order_by()
    column = "number" if _is_boolean(target) else "text"
    rows = given.values_list(column).annotate(n=Count("customer_id", distinct=True))
    counts: Counter[str] = Counter()
    for value, count in rows:
        counts[_name(target, value)] += count
    if not counts:
        raise targets.TargetError(
            _("No customer has a label in “%(column)s” yet.")
            % {"column": getattr(target.attribute, "label", "")}
        )
    return Preview(
        as_of=shop.today(),
        rows=tuple(Row(name, count) for name, count in counts.most_common(targets.MAX_CLASSES)),
        warning=_label_warning(target, counts),
    )


def _is_boolean(target: Target) -> bool:
    return target.attribute is not None and target.attribute.kind == AttributeDefinition.Kind.BOOLEAN


def _name(target: Target, value: object) -> str:
    name = (target_settings.YES if value else target_settings.NO) if _is_boolean(target) else str(value)
    if target.kind != Target.Kind.RISK:
        return name
    risky = name in target_settings.positives(target)
    return _("marked as the risk") if risky else _("not marked as the risk")


def _label_warning(target: Target, counts: Counter[str]) -> str:
    rare = [name for name, count in counts.items() if count < targets.CLASS_CUSTOMERS_NEEDED]
    if len(counts) > targets.MAX_CLASSES:
        return _("There are %(count)s different labels; a category has at most %(most)s classes.") % {
            "count": len(counts),
            "most": targets.MAX_CLASSES,
        }
    if len(counts) < 2:
        return _("All labels are the same: there is nothing to tell apart. Label some customers otherwise.")
    if rare:
        return _("Fewer than %(needed)s customers carry: %(labels)s. That is too few to learn.") % {
            "needed": targets.CLASS_CUSTOMERS_NEEDED,
            "labels": ", ".join(sorted(rare)[:10]),
        }
    return ""


def _everybody(shop: Shop) -> Preview:
    today = shop.scoring_as_of()
    survivors = Customer.objects.filter(
        merged_into__isnull=True,
        is_profiled=True,
        last_order_at__gte=midnight(today - timedelta(days=labels.POPULATION_DAYS), shop.zone),
    )
    return Preview(
        as_of=today, rows=(Row(_("customers with an order in the last 365 days"), survivors.count()),)
    )
