"""Features of everything but buying: browsing, carts, favourites, reviews, support, offers."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from segmentation.features.facts import RATING_POINTS
from segmentation.features.feature import Feature, share, when, worded
from segmentation.features.terms import given, last, last_rated, total, union

_today = given("today")


def _counts(name: str, column: str, windows: tuple[int, ...], label: str, sentence: str) -> list[Feature]:
    """One counting feature a window; `label` and `sentence` are message ids with `%(days)s`."""
    return [
        Feature(
            name=f"{name}_{days}d",
            unit="times",
            window_days=days,
            label=worded(_(label), days=days),
            sentence=worded(_(sentence), days=days),
            expression=total(column, days),
        )
        for days in windows
    ]


BROWSING = (
    *_counts(
        "views",
        "views",
        (7, 30, 90),
        gettext_noop("Products looked at in %(days)s days"),
        gettext_noop("Products looked at in the last %(days)s days: %(value)s"),
    ),
    *_counts(
        "visit_days",
        "visits",
        (30, 90),
        gettext_noop("Days with a visit in %(days)s days"),
        gettext_noop("Days with a visit in the last %(days)s days: %(value)s"),
    ),
    *_counts(
        "searches",
        "searches",
        (30,),
        gettext_noop("Searches in %(days)s days"),
        gettext_noop("Searches in the last %(days)s days: %(value)s"),
    ),
    *_counts(
        "cart_adds",
        "carts",
        (30, 90),
        gettext_noop("Products put in the cart in %(days)s days"),
        gettext_noop("Products put in the cart in the last %(days)s days: %(value)s"),
    ),
    *_counts(
        "abandoned_carts",
        "abandoned",
        (30, 90),
        gettext_noop("Abandoned carts in %(days)s days"),
        gettext_noop("Carts of the last %(days)s days that no order followed: %(value)s"),
    ),
    *_counts(
        "favourites",
        "favourites",
        (90, 365),
        gettext_noop("Favourites in %(days)s days"),
        gettext_noop("Products marked as favourite in the last %(days)s days: %(value)s"),
    ),
    Feature(
        name="visit_recency_days",
        unit="days",
        label=_("Days since the last visit"),
        sentence=_("Days since the last visit: %(value)s"),
        expression=when(total("visits") > 0, _today - last("visit_day")),
    ),
    Feature(
        name="cart_waiting_days",
        unit="days",
        label=_("Days a cart has been waiting"),
        sentence=_("Days since a cart that no order has followed yet: %(value)s"),
        expression=when(last("cart_open") == 1, _today - last("cart_day")),
    ),
    Feature(
        name="orders_per_visit_90d",
        unit="ratio",
        window_days=90,
        label=_("Orders a visit"),
        sentence=_("Orders for each day with a visit in the last 90 days: %(value)s"),
        expression=share(total("orders", 90), total("visits", 90)),
    ),
    Feature(
        name="categories_viewed_90d",
        unit="times",
        window_days=90,
        label=_("Categories looked at in 90 days"),
        sentence=_("Different categories looked at in the last 90 days: %(value)s"),
        expression=union("seen", 90).bitwise_count_ones(),
    ),
)

_ratings = total("ratings")

REVIEWS = (
    *_counts(
        "reviews",
        "reviews",
        (365,),
        gettext_noop("Reviews in %(days)s days"),
        gettext_noop("Reviews written in the last %(days)s days: %(value)s"),
    ),
    Feature(
        name="reviews_lifetime",
        unit="times",
        label=_("Reviews ever"),
        sentence=_("Reviews ever written: %(value)s"),
        expression=total("reviews"),
    ),
    Feature(
        name="rating_mean",
        unit="rating",
        label=_("Average rating"),
        sentence=_("Average rating given (of 5): %(value)s"),
        expression=share(total("points"), _ratings * RATING_POINTS),
    ),
    Feature(
        name="rating_last",
        unit="rating",
        label=_("Last rating"),
        sentence=_("Last rating given (of 5): %(value)s"),
        expression=share(last_rated(), _ratings.sign() * RATING_POINTS),
    ),
    Feature(
        name="low_ratings_365d",
        unit="times",
        window_days=365,
        label=_("Poor ratings in a year"),
        sentence=_("Ratings of 2 or less in the last 365 days: %(value)s"),
        expression=total("low_ratings", 365),
    ),
)

SERVICE = (
    *_counts(
        "tickets",
        "tickets",
        (30, 90, 365),
        gettext_noop("Support tickets in %(days)s days"),
        gettext_noop("Support tickets in the last %(days)s days: %(value)s"),
    ),
    *_counts(
        "complaints",
        "complaints",
        (30, 90, 365),
        gettext_noop("Complaints in %(days)s days"),
        gettext_noop("Complaints in the last %(days)s days: %(value)s"),
    ),
    Feature(
        name="tickets_open",
        unit="times",
        label=_("Open support tickets"),
        sentence=_("Support tickets that are still open: %(value)s"),
        expression=(total("tickets") - total("closed")).clip(lower_bound=0),
    ),
)

OFFERS = (
    *_counts(
        "offers_sent",
        "offers_sent",
        (90,),
        gettext_noop("Offers sent in %(days)s days"),
        gettext_noop("Offers sent in the last %(days)s days: %(value)s"),
    ),
    *_counts(
        "offers_used",
        "offers_used",
        (365,),
        gettext_noop("Offers used in %(days)s days"),
        gettext_noop("Offers used in the last %(days)s days: %(value)s"),
    ),
    Feature(
        name="offers_used_share_365d",
        unit="share",
        window_days=365,
        label=_("Share of offers used"),
        sentence=_("Offers used for each offer sent in the last 365 days: %(value)s"),
        expression=share(total("offers_used", 365), total("offers_sent", 365)),
    ),
)

ENGAGEMENT = (*BROWSING, *REVIEWS, *SERVICE, *OFFERS)
