"""What is predicted, in words and as the learners take it. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.utils.functional import Promise
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import target_settings
from segmentation.ml import schema
from segmentation.models import AttributeDefinition, AttributeValue, Campaign, Offer, Target
from segmentation.target_settings import ANOMALY, LABEL_KINDS, MONEY, NO, YES, TargetError

__all__ = ["LABEL_KINDS", "TargetError"]

HORIZON_DAYS = 90
MAX_CLASSES = 50
# A label that fewer customers carry cannot be learned; it is left out.
CLASS_CUSTOMERS_NEEDED = 20
TIERS = schema.VALUE_TIER.classes
BEHAVIOUR = frozenset(
    {Target.Kind.CHURN, Target.Kind.VALUE_TIER, Target.Kind.FUTURE_VALUE, Target.Kind.NEXT_ORDER}
)


@dataclass(frozen=True)
class DefaultTarget:
    slug: str
    kind: str
    name: Promise


DEFAULTS = (
    DefaultTarget("churn", Target.Kind.CHURN, gettext_lazy("Stops buying")),
    DefaultTarget("value_tier", Target.Kind.VALUE_TIER, gettext_lazy("Value tier")),
    DefaultTarget("future_value", Target.Kind.FUTURE_VALUE, gettext_lazy("Expected spend")),
)


def install() -> list[Target]:
    """The targets every shop starts with; those that exist stay as they are."""
    return [
        Target.objects.get_or_create(
            slug=default.slug,
            defaults={"name": str(default.name), "kind": default.kind, "horizon_days": HORIZON_DAYS},
        )[0]
        for default in DEFAULTS
    ]


def make(
    slug: str,
    *,
    kind: str,
    horizon_days: int = HORIZON_DAYS,
    attribute: str = "",
    title: str = "",
    options: Mapping[str, Any] | None = None,
    campaign: str = "",
    offer: str = "",
) -> Target:
    """Make a target of the shop's own; raises TargetError when something about it cannot be.

    options: see target_settings.check.
    """
    if slugify(slug).replace("-", "_") != slug:
        raise TargetError(
            _("“%(slug)s” is no short name: use small letters, digits and underscores.") % {"slug": slug}
        )
    if Target.objects.filter(slug=slug).exists():
        raise TargetError(_("There is a target called %(slug)s already.") % {"slug": slug})
    if kind not in Target.Kind.values:
        raise TargetError(_("Say what is predicted: %(kinds)s.") % {"kinds": ", ".join(Target.Kind.values)})
    column = _label_column(attribute) if attribute or kind == Target.Kind.CATEGORY else None
    settings, horizon = target_settings.check(
        kind, options or {}, attribute=column, horizon_days=horizon_days
    )
    of_campaign, of_offer = effect_of(kind, campaign, offer)
    name = title or slug.replace("_", " ").capitalize()
    target = Target.objects.create(
        slug=slug, name=name, kind=kind, horizon_days=horizon, attribute=column, settings=settings,
        campaign=of_campaign, offer=of_offer,
    )  # fmt: skip
    mark_label(target)
    return target


def effect_of(kind: str, campaign: str, offer: str) -> tuple[Campaign | None, Offer | None]:
    """What an effect is of, by short name; nothing for other kinds. Raises TargetError."""
    if kind != Target.Kind.UPLIFT:
        return None, None
    found = Campaign.objects.filter(slug=campaign).first() if campaign else None
    gives = Offer.objects.filter(slug=offer).first() if offer else None
    target_settings.require_one(found, gives, campaign or offer)
    return found, gives


def mark_label(target: Target) -> None:
    """The column of labels is marked as one: it must not be learned from at the same time."""
    if target.attribute_id is not None:
        AttributeDefinition.objects.filter(pk=target.attribute_id).update(is_label=True, is_feature=False)


def _label_column(attribute: str) -> AttributeDefinition:
    column = AttributeDefinition.objects.filter(slug=attribute).first()
    if column is None:
        known = ", ".join(AttributeDefinition.objects.values_list("slug", flat=True)) or "–"
        raise TargetError(
            _(
                "A category needs the column that holds its labels. There is none called “%(name)s”; known: %(known)s."
            )
            % {"name": attribute, "known": known}
        )
    return column


def active(slugs: Iterable[str] | None = None) -> list[Target]:
    """Active targets in a fixed order, or those named; raises TargetError naming the unknown ones."""
    known = {
        target.slug: target for target in Target.objects.filter(is_active=True).select_related("attribute")
    }
    wanted = sorted(known) if slugs is None else list(dict.fromkeys(slugs))
    unknown = [slug for slug in wanted if slug not in known]
    if unknown:
        raise TargetError(
            _("There is no active target called %(unknown)s. Known: %(known)s.")
            % {"unknown": ", ".join(unknown), "known": ", ".join(sorted(known)) or "–"}
        )
    return [known[slug] for slug in wanted]


def require_there(family: Iterable[Target]) -> None:
    """Raises TargetError when one of them was deleted meanwhile: what was learned about it has no place to go."""
    wanted = {target.pk: target.name for target in family}
    there = set(Target.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    if gone := [name for key, name in wanted.items() if key not in there]:
        raise TargetError(
            _(
                "“%(target)s” was deleted while it was being trained. No model was stored; train the others again."
            )
            % {"target": ", ".join(gone)}
        )


def scored() -> list[Target]:
    """Active targets that give each customer a score; products have lists instead (segmentation/suggestions.py)."""
    return [target for target in active() if target.kind != Target.Kind.NEXT_PRODUCTS]


def is_behaviour(target: Target) -> bool:
    """Labelled by what customers do in a horizon after a cutoff."""
    return target.kind in BEHAVIOUR


def is_labelled(target: Target) -> bool:
    """Labelled by staff: needs no events, and answers for everybody who is profiled."""
    if target.kind == Target.Kind.RISK:
        return target_settings.risk_method(target) != ANOMALY
    return target.kind == Target.Kind.CATEGORY


def is_anomaly(target: Target) -> bool:
    return target.kind == Target.Kind.RISK and not is_labelled(target)


def is_evaluated(target: Target) -> bool:
    """Whether there are labels to be right or wrong about."""
    return is_behaviour(target) or is_labelled(target)


def definition(target: Target) -> str:
    """One sentence for staff: what the score means."""
    column = target.attribute.label if target.attribute is not None else ""
    given = {"days": target.horizon_days, "column": column}
    if target.kind == Target.Kind.VALUE_TIER:
        return _tiers_defined(target)
    if target.kind == Target.Kind.RISK:
        return _risk_defined(target)
    if target.kind == Target.Kind.UPLIFT:
        return _effect_defined(target)
    sentences = {
        Target.Kind.CHURN: _("The chance that the customer places no order in the next %(days)s days."),
        Target.Kind.FUTURE_VALUE: _("How much the customer will spend in the next %(days)s days."),
        Target.Kind.CATEGORY: _(
            "Which “%(column)s” the customer belongs to, learned from the labels of your staff."
        ),
        Target.Kind.NEXT_ORDER: _(
            "How soon the customer orders again: the chance of an order within each span of days, "
            "up to %(days)s days."
        ),
        Target.Kind.CLUSTERS: _(
            "Which group of customers with similar habits the customer belongs to. The groups were found "
            "in the data; nobody named them beforehand."
        ),
        Target.Kind.NEXT_PRODUCTS: _(
            "Which products the customer is likely to buy in the next %(days)s days, "
            "learned from who bought what."
        ),
    }
    return sentences[Target.Kind(target.kind)] % given


def _tiers_defined(target: Target) -> str:
    cut = target_settings.tiers(target)
    if not target.settings.get("tiers"):
        return _(
            "How much the customer will spend in the next %(days)s days: none, low, middle or high. "
            "The tiers are cut so that buyers of the past fall into three groups of equal size."
        ) % {"days": target.horizon_days}
    if cut.by == MONEY:
        return _(
            "How much the customer will spend in the next %(days)s days, in %(count)s tiers cut at %(borders)s, "
            "or nothing."
        ) % {
            "days": target.horizon_days,
            "count": cut.count,
            "borders": ", ".join(f"{border:g}" for border in cut.borders),
        }
    return _(
        "How much the customer will spend in the next %(days)s days: nothing, or one of %(count)s tiers that are "
        "cut so that buyers of the past fall into groups of equal size."
    ) % {"days": target.horizon_days, "count": cut.count}


def _risk_defined(target: Target) -> str:
    if is_labelled(target):
        return _(
            "The chance that your staff would mark the customer as “%(labels)s” in “%(column)s”, "
            "learned from the examples they marked."
        ) % {
            "labels": ", ".join(target_settings.positives(target)),
            "column": target.attribute.label if target.attribute is not None else "",
        }
    return _(
        "How unusual the customer's behaviour is: the share of customers who are less unusual. "
        "Unusual is no proof of anything; somebody has to look."
    )


def _effect_defined(target: Target) -> str:
    thing = target.campaign or target.offer
    return _(
        "How much likelier “%(name)s” makes an order within %(days)s days, learned from the customers it was held back "
        "from by chance. Below zero it keeps customers from ordering."
    ) % {"name": thing.name if thing is not None else target.name, "days": target.horizon_days}


def classes(target: Target) -> tuple[str, ...]:
    """Class names of a class target, low to high where they are ordered; () for the others."""
    if target.kind == Target.Kind.VALUE_TIER:
        return target_settings.tiers(target).classes
    if target.kind == Target.Kind.NEXT_ORDER:
        return target_settings.next_classes(target)
    if target.kind == Target.Kind.CLUSTERS:
        slot = getattr(target, "slot", None)
        config = slot.champion.config if slot is not None and slot.champion is not None else {}
        return tuple(str(name) for name in config.get("classes", {}).get(target.slug, ()))
    if target.kind == Target.Kind.CATEGORY:
        stored = target.settings.get("classes") or (target.attribute.choices if target.attribute else [])
        return tuple(str(name) for name in stored)
    return ()


def learn_classes(target: Target) -> tuple[str, ...]:
    """The classes of a category: its column's list, else the labels that occur often enough; stored with the target."""
    if target.attribute is None or target.settings.get("classes"):
        return classes(target)
    if target.attribute.kind == AttributeDefinition.Kind.BOOLEAN:
        found = [NO, YES]
    else:
        labelled = AttributeValue.objects.filter(definition=target.attribute, text__isnull=False).order_by()
        counted = labelled.values_list("text").annotate(n=Count("customer_id", distinct=True))
        often = {name for name, n in counted if n >= CLASS_CUSTOMERS_NEEDED}
        listed = [str(name) for name in target.attribute.choices if str(name) in often]
        found = [*listed, *sorted(often - set(listed))]
    if len(found) > MAX_CLASSES:
        raise TargetError(
            _(
                "“%(name)s” has %(found)s different labels; a category has at most %(most)s classes. "
                "Join rare labels, or choose another column."
            )
            % {"name": target.attribute.label, "found": len(found), "most": MAX_CLASSES}
        )
    target.settings = {**target.settings, "classes": found}
    target.save(update_fields=["settings"])
    return tuple(found)


def is_class_target(target: Target) -> bool:
    return target.kind in {
        Target.Kind.VALUE_TIER,
        Target.Kind.CATEGORY,
        Target.Kind.NEXT_ORDER,
        Target.Kind.CLUSTERS,
    }


def to_schema(target: Target) -> schema.Target:
    """The target as the learners take it; its name there is the slug."""
    if target.kind == Target.Kind.CHURN:
        return schema.Target(
            name=target.slug, kind="binary", horizon_days=target.horizon_days, positive=schema.CHURN.positive
        )
    if target.kind == Target.Kind.FUTURE_VALUE:
        return schema.Target(name=target.slug, kind="value", horizon_days=target.horizon_days)
    if target.kind == Target.Kind.RISK:
        kind: schema.TargetKind = "binary" if is_labelled(target) else "value"
        return schema.Target(
            name=target.slug, kind=kind, positive=", ".join(target_settings.positives(target))
        )
    if target.kind == Target.Kind.UPLIFT:
        return schema.Target(name=target.slug, kind="effect", horizon_days=target.horizon_days)
    ordered = target.kind in {Target.Kind.VALUE_TIER, Target.Kind.NEXT_ORDER}
    return schema.Target(
        name=target.slug,
        kind="multiclass",
        classes=classes(target),
        ordered=ordered,
        horizon_days=target.horizon_days if ordered else None,
    )
