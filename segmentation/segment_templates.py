"""Rules that shops often want, ready to be made into segments of their own and edited.

Cut points are relative (fifths of the shop's own customers, a customer's own rhythm) wherever they can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from segmentation import segments
from segmentation.models import AuditEntry, Segment
from segmentation.rules.operators import Words
from segmentation.starter_set import LIKELY_TO_LEAVE
from segmentation.starter_set import StarterSegment as Template

Rule = dict[str, Any]


@dataclass(frozen=True)
class Family:
    name: Words
    description: Words
    templates: tuple[Template, ...]


def find(slug: str) -> Template | None:
    return next((one for family in FAMILIES for one in family.templates if one.slug == slug), None)


def create(template: Template, *, by: Any = None) -> Segment:
    """The segment of this template; one of that short name that is there already stays as it is."""
    with transaction.atomic():
        segment, created = Segment.objects.get_or_create(
            slug=template.slug,
            defaults={
                "name": str(template.name),
                "description": str(template.description),
                "kind": template.kind,
            },
        )
        if created:
            segments.save_rule(segment, template.rule, by=by)
            AuditEntry.record("segment.from_template", segment, actor=by, template=template.slug)
    return segment


def _f(name: str, op: str, value: Any = None) -> Rule:
    return {"field": f"feature.{name}", "op": op} | ({} if value is None else {"value": value})


def _cells(recency: Sequence[int], frequency: Sequence[int]) -> Rule:
    """Fifths by last order (5: lately) and by orders of a year (5: often), both ends included."""
    return {"all": [_fifths("recency_score", recency), _fifths("frequency_score", frequency)]}


def _fifths(name: str, wanted: Sequence[int]) -> Rule:
    return _f(name, "=", wanted[0]) if len(wanted) == 1 else _f(name, "between", [min(wanted), max(wanted)])


def _tier(name: str) -> Rule:
    return {"field": "score.value_tier.label", "op": "is", "value": name}


def _event(kind: str, op: str, value: float, **more: Any) -> Rule:
    return {"event": {"kind": [kind], **more}, "op": op, "value": value}


# The eleven classes that marketing has used since the nineties, on the grid of recency and frequency; the grid's cells
# are shared out without overlap, and who has not ordered for a year is lost.
RFM: Final = (
    Template("rfm-champions", _("Champions"), _("Bought lately and most often."), _cells([5], [4, 5])),
    Template("rfm-loyal", _("Loyal"), _("Buy often, the last time not long ago."), _cells([3, 4], [4, 5])),
    Template("rfm-potential-loyal", _("Potential loyalists"), _("Bought lately, some times already."),
             _cells([4, 5], [2, 3])),
    Template("rfm-new", _("Newcomers"), _("Bought lately and rarely so far."), _cells([5], [1])),
    Template("rfm-promising", _("Promising"), _("Bought fairly lately, rarely so far."), _cells([4], [1])),
    Template("rfm-need-attention", _("Need attention"), _("In the middle by both; could go either way."), _cells([3], [3])),
    Template("rfm-about-to-sleep", _("About to sleep"), _("Rare buyers whose last order grows old."), _cells([3], [1, 2])),
    Template("rfm-at-risk", _("At risk (RFM)"), _("Bought often, but not for a while."), _cells([1, 2], [3, 4])),
    Template("rfm-cannot-lose", _("Cannot lose them"), _("Were among the most frequent and have stayed away."),
             _cells([1, 2], [5])),
    Template("rfm-hibernating", _("Hibernating"), _("Rare buyers who have stayed away for long."), _cells([1, 2], [1, 2])),
    Template(
        "rfm-lost", _("Lost"), _("Ordered once or more, but not within a year."),
        {"all": [_f("orders_lifetime", ">=", 1), _f("recency_score", "is_empty")]},
    ),
)  # fmt: skip
LIFECYCLE: Final = (
    Template("life-prospects", _("Prospects"), _("Known, but without an order."), {"all": [_f("orders_lifetime", "<", 1)]}),
    Template("life-first-order", _("First order"), _("One order so far, in the last 90 days."),
             {"all": [_f("orders_lifetime", "=", 1), _f("first_order_days", "<=", 90)]}),
    Template("life-one-time", _("One-time buyers"), _("One order, more than 90 days ago."),
             {"all": [_f("orders_lifetime", "=", 1), _f("first_order_days", ">", 90)]}),
    Template("life-active", _("Active repeat buyers"), _("Two orders or more, and within their usual time."),
             {"all": [_f("orders_lifetime", ">=", 2), _f("overdue_ratio", "<", 1.5)]}),
    Template("life-slipping", _("Slipping away"), _("Longer without an order than is usual for them."),
             {"all": [_f("orders_lifetime", ">=", 2), _f("overdue_ratio", "between", [1.5, 3])]}),
    Template("life-gone", _("Gone quiet"), _("More than three times their usual time without an order."),
             {"all": [_f("orders_lifetime", ">=", 2), _f("overdue_ratio", ">", 3)]}),
    Template("life-came-back", _("Came back"), _("Ordered lately, after more than half a year without an order."),
             {"all": [_f("orders_30d", ">=", 1), _f("first_order_days", ">", 210),
                      _event("order_placed", "=", 0, within_days=210, older_than_days=30)]}),
)  # fmt: skip
VALUE: Final = (
    *(
        Template(f"tier-{name}", label, _("The model's value tier."), _tier(name), Segment.Kind.MODEL)
        for name, label in (
            ("high", _("High value tier")), ("middle", _("Middle value tier")), ("low", _("Low value tier")),
        )
    ),
    Template("top-fifth", _("Top fifth by spend"), _("Spent more within a year than four fifths of the customers."),
             {"all": [_f("money_score", "=", 5)]}),
    Template(
        "high-value-at-risk", _("High value at risk"), _("Top fifth by spend, and likely to stop buying."),
        {"all": [_f("money_score", "=", 5), {"field": "score.churn", "op": ">=", "value": LIKELY_TO_LEAVE}]},
        Segment.Kind.MODEL,
    ),
)  # fmt: skip
HABITS: Final = (
    Template("discount-lovers", _("Discount lovers"), _("Most orders of a year were bought with a discount."),
             {"all": [_f("discounted_orders_share", ">=", 0.6), _f("orders_365d", ">=", 3)]}),
    Template("full-price", _("Full-price buyers"), _("Buy without discounts: none is needed."),
             {"all": [_f("discounted_orders_share", "<=", 0.1), _f("orders_365d", ">=", 3)]}),
    Template("returners", _("Returners"), _("Return much of what they buy."),
             {"all": [_f("returned_share", ">=", 0.3), _f("returns_365d", ">=", 2)]}),
    Template("problem-customers", _("Problem customers (by events)"),
             _("Complained, or gave two poor ratings, within 90 days."),
             {"any": [_event("complained", ">=", 1, within_days=90),
                      _event("reviewed", ">=", 2, within_days=90, rating={"op": "<=", "value": 2})]}),
    Template("window-shoppers", _("Looked but did not order"),
             _("Looked at products within a week, and ordered nothing since."),
             {"all": [_event("viewed", ">=", 3, within_days=7, not_followed_by={"kind": ["order_placed"]})]}),
    Template("cart-left-behind", _("Left a cart behind"),
             _("Put something in the cart within three days, and ordered nothing since."),
             {"all": [_event("cart_added", ">=", 1, within_days=3, not_followed_by={"kind": ["order_placed"]})]}),
)  # fmt: skip

FAMILIES: Final = (
    Family(_("The eleven RFM classes"), _("By how lately and how often they buy."), RFM),
    Family(_("Life cycle"), _("From the first look to the silence."), LIFECYCLE),
    Family(_("Value"), _("What customers are worth."), VALUE),
    Family(_("Habits"), _("How they buy, and how they feel about it."), HABITS),
)


def everything() -> Iterator[Template]:
    for family in FAMILIES:
        yield from family.templates
