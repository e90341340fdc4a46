"""Features of when and how much a customer buys: recency, frequency, money, rhythm, the year before."""

from __future__ import annotations

import polars as pl
from django.utils.translation import gettext_lazy as _

from segmentation.features.feature import Feature, share, when, worded
from segmentation.features.terms import first, given, last, total

WINDOWS = (7, 30, 90, 365)
# A month of the rhythm features is 30 days, so twelve of them never look further back than the year window.
MONTH = 30

_today = given("today")
_money = given("minor_per_major")
_orders, _spent, _days, _gaps = total("orders"), total("spent"), total("order_days"), total("gaps")
_bought = _orders > 0
_gap_mean = share(total("gap_days"), _gaps)
# (n Σg² − (Σg)²) is an integer, so the spread is exact however the rows are cut.
_gap_spread = when(
    _gaps > 1,
    ((_gaps * total("gap_squares") - total("gap_days") * total("gap_days")) / (_gaps * (_gaps - 1))).sqrt(),
)


def _frequency() -> list[Feature]:
    return [
        Feature(
            name=f"orders_{days}d",
            unit="orders",
            window_days=days,
            label=worded(_("Orders in %(days)s days"), days=days),
            sentence=worded(_("Orders in the last %(days)s days: %(value)s"), days=days),
            expression=total("orders", days),
        )
        for days in WINDOWS
    ] + [
        Feature(
            name="orders_lifetime",
            unit="orders",
            label=_("Orders ever"),
            sentence=_("Orders ever: %(value)s"),
            expression=_orders,
        )
    ]


def _spend() -> list[Feature]:
    return [
        Feature(
            name=f"spend_{days}d",
            unit="money",
            window_days=days,
            label=worded(_("Spend in %(days)s days"), days=days),
            sentence=worded(_("Spent in the last %(days)s days: %(value)s"), days=days),
            expression=total("spent", days) / _money,
        )
        for days in WINDOWS
    ] + [
        Feature(
            name="spend_lifetime",
            unit="money",
            label=_("Spend ever"),
            sentence=_("Spent ever: %(value)s"),
            expression=_spent / _money,
        )
    ]


RECENCY = (
    Feature(
        name="recency_days",
        unit="days",
        label=_("Days since the last order"),
        sentence=_("Days since the last order: %(value)s"),
        expression=when(_bought, _today - last("order_day")),
    ),
    Feature(
        name="first_order_days",
        unit="days",
        label=_("Days since the first order"),
        sentence=_("Days since the first order: %(value)s"),
        expression=when(_bought, _today - first("order_day")),
    ),
    Feature(
        name="order_days_lifetime",
        unit="days",
        label=_("Days with an order"),
        sentence=_("Different days with an order: %(value)s"),
        expression=_days,
    ),
    Feature(
        name="order_days_365d",
        unit="days",
        window_days=365,
        label=_("Days with an order in a year"),
        sentence=_("Different days with an order in the last 365 days: %(value)s"),
        expression=total("order_days", 365),
    ),
)

RHYTHM = (
    Feature(
        name="gap_mean_days",
        unit="days",
        label=_("Usual days between orders"),
        sentence=_("Usual number of days between orders: %(value)s"),
        expression=_gap_mean,
    ),
    Feature(
        name="gap_std_days",
        unit="days",
        label=_("Spread of the days between orders"),
        sentence=_("The days between orders vary by about %(value)s"),
        expression=_gap_spread,
    ),
    Feature(
        name="regularity",
        unit="ratio",
        label=_("Irregularity of orders"),
        sentence=_("Spread of the days between orders beside their average (0 is like clockwork): %(value)s"),
        expression=_gap_spread / _gap_mean,
    ),
    Feature(
        name="last_gap_ratio",
        unit="ratio",
        label=_("Last gap beside the usual one"),
        sentence=_("Last gap between orders, in usual gaps: %(value)s"),
        expression=when(_gaps > 0, last("gap")) / _gap_mean,
    ),
    Feature(
        name="overdue_ratio",
        unit="ratio",
        label=_("Waiting time in usual gaps"),
        sentence=_("Time since the last order, in usual gaps: %(value)s"),
        expression=when(_bought, _today - last("order_day")) / _gap_mean,
    ),
    Feature(
        name="months_active_365d",
        unit="times",
        window_days=12 * MONTH,
        label=_("Months with an order in a year"),
        sentence=_("Months with an order in the last year: %(value)s"),
        expression=pl.sum_horizontal(
            (total("orders", MONTH * (month + 1), newest=MONTH * month) > 0).cast(pl.Int64)
            for month in range(12)
        ),
    ),
)

TREND = (
    Feature(
        name="orders_90d_before",
        unit="orders",
        window_days=180,
        label=_("Orders 91 to 180 days ago"),
        sentence=_("Orders 91 to 180 days ago: %(value)s"),
        expression=total("orders", 180, newest=90),
    ),
    Feature(
        name="spend_90d_before",
        unit="money",
        window_days=180,
        label=_("Spend 91 to 180 days ago"),
        sentence=_("Spent 91 to 180 days ago: %(value)s"),
        expression=total("spent", 180, newest=90) / _money,
    ),
    Feature(
        name="spend_recent_share",
        unit="share",
        window_days=365,
        label=_("Share of the year's spend in 90 days"),
        sentence=_("Share of the year's spend that fell in the last 90 days: %(value)s"),
        expression=share(total("spent", 90), total("spent", 365)),
    ),
    Feature(
        name="orders_year_ago_90d",
        unit="orders",
        window_days=365,
        label=_("Orders in these 90 days a year ago"),
        sentence=_("Orders in the coming 90 days of the calendar, a year ago: %(value)s"),
        expression=total("orders", 365, newest=275),
    ),
    Feature(
        name="spend_year_ago_90d",
        unit="money",
        window_days=365,
        label=_("Spend in these 90 days a year ago"),
        sentence=_("Spent in the coming 90 days of the calendar, a year ago: %(value)s"),
        expression=total("spent", 365, newest=275) / _money,
    ),
    Feature(
        name="season_share",
        unit="share",
        window_days=365,
        label=_("Share of the year's spend in the coming season"),
        sentence=_(
            "Share of the last year's spend that fell in the coming 90 days of the calendar: %(value)s"
        ),
        expression=share(total("spent", 365, newest=275), total("spent", 365)),
    ),
)

BUYING = (*RECENCY, *_frequency(), *_spend(), *RHYTHM, *TREND)
