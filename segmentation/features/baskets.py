"""Features of what is in the orders: size, price, discounts, categories, returns."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from segmentation.features.feature import Feature, share, when
from segmentation.features.terms import given, largest, last, total, union

_money = given("minor_per_major")
_orders, _spent = total("orders"), total("spent")
_bought = _orders > 0
_order_mean = share(_spent, _orders)

BASKETS = (
    Feature(
        name="order_value_mean",
        unit="money",
        label=_("Average order"),
        sentence=_("Average order: %(value)s"),
        expression=_order_mean / _money,
    ),
    Feature(
        name="order_value_mean_365d",
        unit="money",
        window_days=365,
        label=_("Average order of the last year"),
        sentence=_("Average order of the last 365 days: %(value)s"),
        expression=share(total("spent", 365), total("orders", 365)) / _money,
    ),
    Feature(
        name="order_value_largest",
        unit="money",
        label=_("Largest order"),
        sentence=_("Largest order: %(value)s"),
        expression=when(_bought, largest("spent")) / _money,
    ),
    Feature(
        name="order_value_last",
        unit="money",
        label=_("Last order"),
        sentence=_("Last order: %(value)s"),
        expression=when(_bought, last("spent")) / _money,
    ),
    Feature(
        name="last_order_ratio",
        unit="ratio",
        label=_("Last order beside the average one"),
        sentence=_("Last order, in average orders: %(value)s"),
        expression=when(_bought, last("spent")) / _order_mean,
    ),
    Feature(
        name="lines_per_order",
        unit="units",
        label=_("Products an order"),
        sentence=_("Different products in an order, on average: %(value)s"),
        expression=share(total("lines"), _orders),
    ),
    Feature(
        name="lines_last_order",
        unit="units",
        label=_("Products in the last order"),
        sentence=_("Different products in the last order: %(value)s"),
        expression=when(_bought, last("lines")),
    ),
    Feature(
        name="units_per_order",
        unit="units",
        label=_("Pieces an order"),
        sentence=_("Pieces in an order, on average: %(value)s"),
        expression=share(total("units"), _orders),
    ),
    Feature(
        name="price_per_unit",
        unit="money",
        label=_("Price level"),
        sentence=_("Average price of a piece: %(value)s"),
        expression=when(total("units") > 0, _spent / total("units")) / _money,
    ),
    Feature(
        name="discount_share",
        unit="share",
        label=_("Discount share"),
        sentence=_("Share of the full price that was discounted: %(value)s"),
        expression=share(total("discount"), total("discount") + _spent),
    ),
    Feature(
        name="discounted_orders_share",
        unit="share",
        label=_("Orders with a discount"),
        sentence=_("Share of orders with a discount: %(value)s"),
        expression=share(total("discounted"), _orders),
    ),
)

_ever, _before_90 = union("bought"), union("bought", newest=90)

CATEGORIES = (
    Feature(
        name="categories_lifetime",
        unit="times",
        label=_("Categories bought"),
        sentence=_("Different categories bought: %(value)s"),
        expression=_ever.bitwise_count_ones(),
    ),
    Feature(
        name="categories_365d",
        unit="times",
        window_days=365,
        label=_("Categories bought in a year"),
        sentence=_("Different categories bought in the last 365 days: %(value)s"),
        expression=union("bought", 365).bitwise_count_ones(),
    ),
    Feature(
        name="categories_new_90d",
        unit="times",
        window_days=90,
        label=_("Categories bought for the first time"),
        sentence=_("Categories bought for the first time in the last 90 days: %(value)s"),
        expression=_ever.bitwise_count_ones().cast(int) - _before_90.bitwise_count_ones().cast(int),
    ),
    Feature(
        name="categories_new_share_90d",
        unit="share",
        window_days=90,
        label=_("Share of new categories"),
        sentence=_("Of the categories bought in the last 90 days, bought for the first time: %(value)s"),
        expression=share(
            _ever.bitwise_count_ones().cast(int) - _before_90.bitwise_count_ones().cast(int),
            union("bought", 90).bitwise_count_ones(),
        ),
    ),
)

_returns = total("returns")

RETURNS = (
    Feature(
        name="returns_90d",
        unit="times",
        window_days=90,
        label=_("Returns in 90 days"),
        sentence=_("Returns in the last 90 days: %(value)s"),
        expression=total("returns", 90),
    ),
    Feature(
        name="returns_365d",
        unit="times",
        window_days=365,
        label=_("Returns in a year"),
        sentence=_("Returns in the last 365 days: %(value)s"),
        expression=total("returns", 365),
    ),
    Feature(
        name="returns_lifetime",
        unit="times",
        label=_("Returns ever"),
        sentence=_("Returns ever: %(value)s"),
        expression=_returns,
    ),
    Feature(
        name="returns_per_order",
        unit="ratio",
        label=_("Returns an order"),
        sentence=_("Returns for each order: %(value)s"),
        expression=share(_returns, _orders),
    ),
    Feature(
        name="returned_share",
        unit="share",
        label=_("Share of spend returned"),
        sentence=_("Share of the spend that was returned: %(value)s"),
        expression=share(total("returned"), _spent),
    ),
    Feature(
        name="return_recency_days",
        unit="days",
        label=_("Days since the last return"),
        sentence=_("Days since the last return: %(value)s"),
        expression=when(_returns > 0, given("today") - last("return_day")),
    ),
)

IN_THE_BASKET = (*BASKETS, *CATEGORIES, *RETURNS)
