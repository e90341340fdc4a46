"""Features that lean on the shop as a whole: what the purchase model expects, the season, the profile."""

from __future__ import annotations

import polars as pl
from django.utils.translation import gettext_lazy as _

from segmentation.features.feature import Feature, when
from segmentation.features.terms import first, given, total

_today = given("today")
_signed_up_days = when(given("signed_up_day") <= _today, _today - given("signed_up_day"))
_known_days = when(total("any_day") > 0, _today - first("any_day"))

EXPECTED = (
    Feature(
        name="btyd_alive",
        unit="share",
        label=_("Chance to still be a customer"),
        sentence=_("Chance that the customer still buys here at all, from the rhythm of orders: %(value)s"),
        expression=given("btyd_alive"),
    ),
    Feature(
        name="btyd_expected_orders_90d",
        unit="orders",
        label=_("Orders expected in 90 days"),
        sentence=_("Orders expected in the next 90 days, from the rhythm of orders: %(value)s"),
        expression=given("btyd_expected_orders"),
    ),
    Feature(
        name="btyd_expected_spend",
        unit="money",
        label=_("Spend expected an order"),
        sentence=_("Spend expected for the next order: %(value)s"),
        expression=given("btyd_expected_spend"),
    ),
    Feature(
        name="btyd_value_90d",
        unit="money",
        label=_("Spend expected in 90 days"),
        sentence=_("Spend expected in the next 90 days, from the rhythm of orders: %(value)s"),
        expression=given("btyd_expected_orders") * given("btyd_expected_spend"),
    ),
)

STANDING = (
    Feature(
        name="recency_score",
        unit="score",
        label=_("Recency score (1 to 5)"),
        sentence=_("Recency beside other customers, 5 is the most recent fifth: %(value)s"),
        expression=given("recency_score"),
    ),
    Feature(
        name="frequency_score",
        unit="score",
        window_days=365,
        label=_("Frequency score (1 to 5)"),
        sentence=_("Orders in a year beside other customers, 5 is the most frequent fifth: %(value)s"),
        expression=given("frequency_score"),
    ),
    Feature(
        name="money_score",
        unit="score",
        window_days=365,
        label=_("Money score (1 to 5)"),
        sentence=_("Spend in a year beside other customers, 5 is the highest fifth: %(value)s"),
        expression=given("money_score"),
    ),
)

SEASON = (
    Feature(
        name="season_next_90d",
        unit="ratio",
        label=_("Season ahead"),
        sentence=_("Sales level of the coming 90 days beside an average time of the year: %(value)s"),
        expression=given("season_next"),
    ),
    Feature(
        name="season_last_90d",
        unit="ratio",
        label=_("Season behind"),
        sentence=_("Sales level of the last 90 days beside an average time of the year: %(value)s"),
        expression=given("season_last"),
    ),
)

PROFILE = (
    Feature(
        name="tenure_days",
        unit="days",
        label=_("Days known"),
        sentence=_("Days since the customer was first heard of: %(value)s"),
        expression=pl.max_horizontal(_known_days, _signed_up_days),
    ),
    Feature(
        name="signed_up_days",
        unit="days",
        label=_("Days since sign-up"),
        sentence=_("Days since sign-up: %(value)s"),
        expression=_signed_up_days,
    ),
    Feature(
        name="country",
        unit="",
        kind="categorical",
        label=_("Country"),
        sentence=_("Country: %(value)s"),
        expression=given("country"),
    ),
    Feature(
        name="channel",
        unit="",
        kind="categorical",
        label=_("Channel"),
        sentence=_("Channel: %(value)s"),
        expression=given("channel"),
    ),
)

OUTLOOK = (*EXPECTED, *STANDING, *SEASON, *PROFILE)
