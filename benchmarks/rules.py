"""Segments beside the starter set's: each as staff would write it, and by hand in polars, so that both can be timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

# With the starter set's eleven a shop has thirty.
INSTALLED = 19


@dataclass(frozen=True)
class BothWays:
    slug: str
    rule: dict[str, Any]
    by_hand: pl.Expr


def _f(name: str, op: str, value: Any) -> dict[str, Any]:
    return {"field": f"feature.{name}", "op": op, "value": value}


def _c(name: str) -> pl.Expr:
    return pl.col(f"feature.{name}")


def _one(slug: str, name: str, op: str, value: float) -> BothWays:
    column = _c(name)
    by_hand = {">=": column >= value, "<=": column <= value, ">": column > value, "<": column < value}[op]
    return BothWays(slug, _f(name, op, value), by_hand.fill_null(False))


def _both(slug: str, *parts: BothWays) -> BothWays:
    return BothWays(
        slug, {"all": [part.rule for part in parts]}, pl.all_horizontal([part.by_hand for part in parts])
    )


def _either(slug: str, *parts: BothWays) -> BothWays:
    return BothWays(
        slug, {"any": [part.rule for part in parts]}, pl.any_horizontal([part.by_hand for part in parts])
    )


_recent = _one("", "recency_days", "<=", 30)
_waiting = _one("", "recency_days", ">", 120)
_spender = _one("", "spend_365d", ">=", 400)
_browser = _one("", "views_30d", ">=", 5)
_unhappy = _one("", "rating_mean", "<=", 2)

RULES: tuple[BothWays, ...] = (
    _one("bought-this-month", "recency_days", "<=", 14),
    _one("many-orders", "orders_365d", ">=", 6),
    _one("big-baskets", "order_value_mean", ">=", 150),
    _one("wide-taste", "categories_365d", ">=", 5),
    _one("bargain-hunters", "discount_share", ">=", 0.15),
    _one("reviewers", "reviews_365d", ">=", 3),
    _one("returners", "returns_365d", ">=", 2),
    _one("asked-for-help", "tickets_90d", ">=", 1),
    _one("cart-left", "abandoned_carts_30d", ">=", 2),
    _one("watchers", "favourites_90d", ">=", 3),
    _both("recent-spenders", _recent, _spender),
    _both("looking-not-buying", _browser, _waiting),
    _both("big-and-late", _spender, _one("", "overdue_ratio", ">=", 1.5)),
    _both("happy-regulars", _one("", "rating_mean", ">=", 4.5), _one("", "orders_365d", ">=", 3)),
    _both("lost-money", _waiting, _one("", "spend_lifetime", ">=", 600)),
    _either("needs-care", _unhappy, _one("", "complaints_365d", ">=", 1)),
    _either("engaged", _one("", "views_7d", ">=", 6), _one("", "cart_adds_30d", ">=", 4)),
    _both("promising", _one("", "btyd_alive", ">=", 0.8), _one("", "btyd_value_90d", ">=", 120)),
    _both("fading", _one("", "btyd_alive", "<=", 0.3), _one("", "orders_lifetime", ">=", 3)),
    *(_one(f"older-than-{days}", "tenure_days", ">=", days) for days in (500, 550, 600, 650, 700)),
    *(_one(f"spent-{amount}", "spend_lifetime", ">=", amount) for amount in (300, 600, 900, 1200, 1800)),
    *(_one(f"orders-{count}", "orders_lifetime", ">=", count) for count in (4, 6, 8, 10, 12)),
    *(
        _both(f"value-{money}-in-{days}", _one("", "btyd_value_90d", ">=", money), _one("", "recency_days", "<=", days))
        for money, days in ((50, 30), (50, 60), (100, 30), (100, 60), (200, 90))
    ),
    *(
        _either(
            f"views-{views}-or-carts-{carts}",
            _one("", "views_90d", ">=", views),
            _one("", "cart_adds_90d", ">=", carts),
        )
        for views, carts in ((10, 3), (15, 4), (20, 5), (25, 6), (30, 7))
    ),
    *(
        BothWays(
            f"not-lately-{days}",
            {"none": [_f("recency_days", "<=", days)]},
            ~(_c("recency_days") <= days).fill_null(False),
        )
        for days in (200, 240, 280, 320, 360, 400)
    ),
)  # fmt: skip


def install() -> None:
    """Add the rules that make the starter set's segments thirty."""
    from segmentation import segments
    from segmentation.models import Segment

    for both in RULES[:INSTALLED]:
        segment, created = Segment.objects.get_or_create(
            slug=both.slug, defaults={"name": both.slug.replace("-", " ")}
        )
        if created:
            segments.save_rule(segment, both.rule)
