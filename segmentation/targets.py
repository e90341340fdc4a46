"""What is predicted, in words and as the learners take it. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count
from django.utils.functional import Promise
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation.ml import schema
from segmentation.models import AttributeDefinition, AttributeValue, Target

HORIZON_DAYS = 90
MAX_CLASSES = 50
# A label that fewer customers carry cannot be learned; it is left out.
CLASS_CUSTOMERS_NEEDED = 10
TIERS = schema.VALUE_TIER.classes
LABEL_KINDS = (
    AttributeDefinition.Kind.TEXT,
    AttributeDefinition.Kind.CHOICE,
    AttributeDefinition.Kind.BOOLEAN,
)


class TargetError(Exception):
    """A target that cannot be made or learned; the message says what to do."""


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


def make(slug: str, *, kind: str, horizon_days: int, attribute: str = "", title: str = "") -> Target:
    """Make a target of the shop's own; raises TargetError when something about it cannot be."""
    if slugify(slug).replace("-", "_") != slug:
        raise TargetError(
            _("“%(slug)s” is no short name: use small letters, digits and underscores.") % {"slug": slug}
        )
    if Target.objects.filter(slug=slug).exists():
        raise TargetError(_("There is a target called %(slug)s already.") % {"slug": slug})
    if kind not in Target.Kind.values:
        raise TargetError(_("Say what is predicted: %(kinds)s.") % {"kinds": ", ".join(Target.Kind.values)})
    if horizon_days < 1:
        raise TargetError(_("The horizon is at least one day."))
    column = _label_column(attribute) if kind == Target.Kind.CATEGORY else None
    name = title or slug.replace("_", " ").capitalize()
    return Target.objects.create(slug=slug, name=name, kind=kind, horizon_days=horizon_days, attribute=column)


def _label_column(attribute: str) -> AttributeDefinition:
    """The column of labels, marked as one; it must not be learned from at the same time."""
    column = AttributeDefinition.objects.filter(slug=attribute).first()
    if column is None:
        known = ", ".join(AttributeDefinition.objects.values_list("slug", flat=True)) or "–"
        raise TargetError(
            _(
                "A category needs the column that holds its labels. There is none called “%(name)s”; known: %(known)s."
            )
            % {"name": attribute, "known": known}
        )
    if column.kind not in LABEL_KINDS:
        raise TargetError(
            _("“%(name)s” holds no classes: a label is text, one of a list, or yes or no.")
            % {"name": attribute}
        )
    AttributeDefinition.objects.filter(pk=column.pk).update(is_label=True, is_feature=False)
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


def definition(target: Target) -> str:
    """One sentence for staff: what the score means."""
    sentences = {
        Target.Kind.CHURN: _("The chance that the customer places no order in the next %(days)s days."),
        Target.Kind.VALUE_TIER: _(
            "How much the customer will spend in the next %(days)s days: none, low, middle or high. "
            "The tiers are cut so that buyers of the past fall into three groups of equal size."
        ),
        Target.Kind.FUTURE_VALUE: _("How much the customer will spend in the next %(days)s days."),
        Target.Kind.CATEGORY: _(
            "Which “%(column)s” the customer belongs to, learned from the labels of your staff."
        ),
    }
    column = target.attribute.label if target.attribute is not None else ""
    return sentences[Target.Kind(target.kind)] % {"days": target.horizon_days, "column": column}


def classes(target: Target) -> tuple[str, ...]:
    """Class names of a class target, low to high where they are ordered; () for the others."""
    if target.kind == Target.Kind.VALUE_TIER:
        return TIERS
    if target.kind == Target.Kind.CATEGORY:
        stored = target.settings.get("classes") or (target.attribute.choices if target.attribute else [])
        return tuple(str(name) for name in stored)
    return ()


def learn_classes(target: Target) -> tuple[str, ...]:
    """The classes of a category: its column's list, else the labels that occur often enough; stored with the target."""
    if target.attribute is None or target.settings.get("classes") or target.attribute.choices:
        return classes(target)
    if target.attribute.kind == AttributeDefinition.Kind.BOOLEAN:
        found = ["false", "true"]
    else:
        labelled = AttributeValue.objects.filter(definition=target.attribute, text__isnull=False).order_by()
        counted = labelled.values_list("text").annotate(n=Count("customer_id", distinct=True))
        found = sorted(name for name, n in counted if n >= CLASS_CUSTOMERS_NEEDED)
    if len(found) > MAX_CLASSES:
        raise TargetError(
            _("“%(name)s” has %(found)s different labels; a category has at most %(most)s classes.")
            % {"name": target.attribute.label, "found": len(found), "most": MAX_CLASSES}
        )
    target.settings = {**target.settings, "classes": found}
    target.save(update_fields=["settings"])
    return tuple(found)


def is_class_target(target: Target) -> bool:
    return target.kind in {Target.Kind.VALUE_TIER, Target.Kind.CATEGORY}


def to_schema(target: Target) -> schema.Target:
    """The target as the learners take it; its name there is the slug."""
    if target.kind == Target.Kind.CHURN:
        return schema.Target(
            name=target.slug, kind="binary", horizon_days=target.horizon_days, positive=schema.CHURN.positive
        )
    if target.kind == Target.Kind.FUTURE_VALUE:
        return schema.Target(name=target.slug, kind="value", horizon_days=target.horizon_days)
    ordered = target.kind == Target.Kind.VALUE_TIER
    return schema.Target(
        name=target.slug,
        kind="multiclass",
        classes=classes(target),
        ordered=ordered,
        horizon_days=target.horizon_days if ordered else None,
    )
