"""What a new shop starts with: segments, offers, campaigns and service priorities, in the words staff will see.

Cut points are relative wherever they can be (fifths of the shop's own customers, a customer's own rhythm), so the
same set makes sense for a shop that sells once a year and for one that sells every week.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from segmentation.models import Offer, Segment
from segmentation.models.customers import PriorityLevel
from segmentation.rules.operators import Words

Rule = dict[str, Any]
# Where the console begins to say “likely to stop buying” (dashboard.words.RISK_BANDS).
LIKELY_TO_LEAVE: Final = 0.65


@dataclass(frozen=True)
class StarterSegment:
    slug: str
    name: Words
    description: Words
    rule: Rule
    kind: str = Segment.Kind.RULE


@dataclass(frozen=True)
class StarterOffer:
    """`value` and `cost` are in units of the base currency."""

    slug: str
    name: Words
    kind: str
    text: Words
    percentage: Decimal | None = None
    value: int = 0
    cost: int = 0
    code: str = ""
    valid_days: int = 30
    products_fallback: Words = ""


@dataclass(frozen=True)
class StarterCampaign:
    """rules: (segment slug, offer slug), in order. Marketing refusals are respected without asking for consent."""

    slug: str
    name: Words
    description: Words
    priority: int
    rules: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StarterPriority:
    name: Words
    segment: str
    level: int
    handling: Words


def _is(field: str, op: str, value: object) -> Rule:
    return {"field": field, "op": op, "value": value}


def _feature(name: str, op: str, value: object) -> Rule:
    return _is(f"feature.{name}", op, value)


def _in(slug: str) -> Rule:
    return {"field": f"segment.{slug}", "op": "in"}


SEGMENTS: Final = (
    StarterSegment(
        "new",
        _("New customers"),
        _("First order in the last 60 days, and no more than two so far."),
        {"all": [_feature("first_order_days", "<=", 60), _feature("orders_lifetime", "between", [1, 2])]},
    ),
    StarterSegment(
        "frequent",
        _("Frequent buyers"),
        _("Among the two most frequent fifths of the year, with an order in the last 90 days."),
        {
            "all": [
                _feature("frequency_score", ">=", 4),
                _feature("orders_90d", ">=", 1),
                _feature("orders_365d", ">=", 3),
            ]
        },
    ),
    StarterSegment(
        "loyal",
        _("Loyal customers"),
        _("With the shop for a year or more, buying often and lately, in many months."),
        {
            "all": [
                _feature("first_order_days", ">=", 365),
                _feature("frequency_score", ">=", 4),
                _feature("recency_score", ">=", 3),
                _feature("months_active_365d", ">=", 3),
            ]
        },
    ),
    StarterSegment(
        "high-value",
        _("High-value customers"),
        _("Top fifth by spend of the year and among the most frequent; still buying."),
        {
            "all": [
                _feature("money_score", ">=", 5),
                _feature("frequency_score", ">=", 5),
                _feature("recency_score", ">=", 4),
                _feature("orders_365d", ">=", 3),
            ]
        },
    ),
    StarterSegment(
        "adopters",
        _("New-product adopters"),
        _("Customers who know the shop and lately bought kinds of products they had never bought before."),
        {
            "all": [
                _feature("orders_lifetime", ">=", 3),
                _feature("orders_90d", ">=", 1),
                _feature("categories_new_90d", ">=", 2),
                _feature("first_order_days", ">", 90),
            ]
        },
    ),
    StarterSegment(
        "at-risk",
        _("At risk"),
        _("Regular customers who have waited more than twice as long as usual since their last order."),
        {
            "all": [
                _feature("orders_lifetime", ">=", 3),
                _feature("overdue_ratio", ">=", 2),
                _feature("recency_days", "between", [30, 180]),
            ]
        },
    ),
    StarterSegment(
        "lapsed",
        _("Lapsed"),
        _("No order for more than half a year, after at least one."),
        {"all": [_feature("orders_lifetime", ">=", 1), _feature("recency_days", ">", 180)]},
    ),
    StarterSegment(
        "problem",
        _("Problem customers"),
        _("Complaints, poor ratings, open support tickets or many returns: they need somebody to listen."),
        {
            "any": [
                _feature("complaints_90d", ">=", 1),
                _feature("tickets_open", ">=", 2),
                _feature("low_ratings_365d", ">=", 2),
                {"all": [_feature("returned_share", ">=", 0.3), _feature("returns_365d", ">=", 2)]},
            ]
        },
    ),
    StarterSegment(
        "likely-high-tier",
        _("Likely high spenders"),
        _("Expected to be in the high value tier over the coming months."),
        _is("score.value_tier.label", "is", "high"),
        Segment.Kind.MODEL,
    ),
    StarterSegment(
        "likely-to-leave",
        _("Likely to stop buying"),
        _("Most probably no further order in the coming months."),
        _is("score.churn", ">=", LIKELY_TO_LEAVE),
        Segment.Kind.MODEL,
    ),
    StarterSegment(
        "valuable-but-leaving",
        _("Valuable but leaving"),
        _("Among the top fifth by spend, and likely to stop buying."),
        {"all": [_feature("money_score", ">=", 5), _in("likely-to-leave")]},
        Segment.Kind.MODEL,
    ),
)

OFFERS: Final = (
    StarterOffer(
        "welcome-gift", _("Welcome gift"), Offer.Kind.GIFT,
        _("Thank you for your first order! A small gift comes with your next one."), value=5, cost=3,
    ),
    StarterOffer(
        "new-and-bestselling", _("New and best-selling products"), Offer.Kind.PRODUCTS,
        _("New in the shop and loved by others: {products}"), products_fallback=_("our bestsellers"),
    ),
    StarterOffer(
        "early-access", _("Early access"), Offer.Kind.EARLY_ACCESS,
        _("See and order our new collection two days before everybody else."),
    ),
    StarterOffer(
        "dedicated-service", _("Dedicated service"), Offer.Kind.SERVICE,
        _("Your personal contact in our team answers you first."), cost=5, valid_days=90,
    ),
    StarterOffer(
        "try-the-new", _("Try the new arrivals"), Offer.Kind.PRODUCTS,
        _("Just arrived, and probably your taste: {products}"), products_fallback=_("our new arrivals"),
    ),
    StarterOffer(
        "win-back-10",
        # xgettext:no-python-format
        _("Come back: 10 % off"), Offer.Kind.PERCENTAGE,
        # xgettext:no-python-format
        _("We miss you: {percentage} % off your next order with {code}."),
        percentage=Decimal(10), cost=4, code="BACK10",
    ),
    StarterOffer(
        "win-back-15",
        # xgettext:no-python-format
        _("Come back: 15 % off"), Offer.Kind.PERCENTAGE,
        # xgettext:no-python-format
        _("It has been a while: {percentage} % off your next order with {code}."),
        percentage=Decimal(15), cost=6, code="BACK15",
    ),
    StarterOffer(
        "follow-up", _("Personal follow-up"), Offer.Kind.SERVICE,
        _("We want to put this right. Somebody from our team will get in touch."), cost=5,
    ),
)  # fmt: skip

CAMPAIGNS: Final = (
    StarterCampaign(
        "follow-up", _("Put it right"), _("Listen first, sell later."), 70, (("problem", "follow-up"),)
    ),
    StarterCampaign(
        "dedicated-service",
        _("Dedicated service"),
        _("The best customers get a person of their own."),
        60,
        (("high-value", "dedicated-service"),),
    ),
    StarterCampaign(
        "win-back",
        _("Win back"),
        _("A discount for those who are slipping away, a larger one for those who are gone."),
        50,
        (("at-risk", "win-back-10"), ("lapsed", "win-back-15")),
    ),
    StarterCampaign(
        "loyalty",
        _("Thank the loyal"),
        _("Early access instead of discounts."),
        40,
        (("loyal", "early-access"),),
    ),
    StarterCampaign(
        "welcome",
        _("Welcome"),
        _("A gift that brings the second order."),
        30,
        (("new", "welcome-gift"),),
    ),
    StarterCampaign(
        "new-arrivals",
        _("New arrivals"),
        _("For those who like to try things."),
        20,
        (("adopters", "try-the-new"),),
    ),
    StarterCampaign(
        "best-sellers",
        _("New and best-selling"),
        _("Ideas for those who buy often."),
        10,
        (("frequent", "new-and-bestselling"),),
    ),
)

PRIORITIES: Final = (
    StarterPriority(
        _("High value: dedicated service"), "high-value", PriorityLevel.URGENT,
        _("Answer first, by their personal contact."),
    ),
    StarterPriority(
        _("Problem: follow up"), "problem", PriorityLevel.HIGH,
        _("Call back within a day and note what was agreed."),
    ),
    StarterPriority(
        _("Valuable and about to leave"), "valuable-but-leaving", PriorityLevel.HIGH,
        _("Ask what is missing before offering anything."),
    ),
)  # fmt: skip

GLOBAL_HOLDOUT_PERCENT: Final = 5
