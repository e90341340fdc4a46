"""Amounts of many lines: exact whole numbers from price to base minor units, halves to the even neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from django.utils.translation import gettext as _

from segmentation.imports import sentences
from segmentation.imports.casts import SCALE_DIGITS
from segmentation.models import ExchangeRate, Shop
from segmentation.models.shop import minor_digits
from segmentation.normal import MAX_AMOUNT_MINOR
from segmentation.rates import no_rate_template

RATE_DIGITS = 10


def divide_half_even(value: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    """Whole division of non-negative Int128 numbers, halves to the even neighbour."""
    quotient = value // divisor
    twice = (value - quotient * divisor) * 2
    up = (twice > divisor) | ((twice == divisor) & (quotient % 2 == 1))
    return quotient + up.cast(pl.Int128)


@dataclass(frozen=True)
class Money:
    """The shop's side of an import's amounts; `convert` needs a database only where currencies differ."""

    base: str
    zone: str

    @classmethod
    def of(cls, shop: Shop) -> Money:
        return cls(shop.base_currency, shop.time_zone)

    def convert(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Add amount_minor, discount_minor, original_minor (Int64) and `money_problem` (text or null).

        Takes net and discount (Int128, 10^-8 units of `currency`, not negative) and `at` (UTC).
        """
        codes = lines["currency"].unique().to_list()
        divisors = {code: 10 ** (SCALE_DIGITS - minor_digits(code)) for code in codes}
        lines = lines.with_columns(
            pl.col("currency")
            .replace_strict(divisors, default=1, return_dtype=pl.Int64)
            .cast(pl.Int128)
            .alias("original_divisor"),
            pl.col("at").dt.convert_time_zone(self.zone).dt.date().alias("day"),
        )
        original = divide_half_even(pl.col("net"), pl.col("original_divisor"))
        lines = lines.with_columns(original.alias("original_big"))
        absurd = pl.col("original_big") > MAX_AMOUNT_MINOR
        lines = lines.with_columns(
            pl.when(~absurd).then(pl.col("original_big")).cast(pl.Int64).alias("original_minor")
        )
        return self._to_base(self._with_rates(lines, codes), absurd).drop(
            "day", "original_divisor", "original_big", "rate"
        )

    def _with_rates(self, lines: pl.DataFrame, codes: list[str]) -> pl.DataFrame:
        foreign = [code for code in codes if code != self.base]
        if not foreign:
            return lines.with_columns(pl.lit(10**RATE_DIGITS, dtype=pl.Int128).alias("rate"))
        days = lines["day"]
        rows = ExchangeRate.objects.filter(currency__in=foreign, day__range=(days.min(), days.max()))
        rates = [
            (rate.currency, rate.day, int(rate.rate.scaleb(RATE_DIGITS)))
            for rate in rows.iterator(chunk_size=5000)
        ]
        table = pl.DataFrame(
            rates, schema={"currency": pl.String, "day": pl.Date, "rate": pl.Int128}, orient="row"
        )
        joined = lines.join(table, on=["currency", "day"], how="left", maintain_order="left")
        own = pl.lit(10**RATE_DIGITS, dtype=pl.Int128)
        return joined.with_columns(
            pl.when(pl.col("currency") == self.base).then(own).otherwise(pl.col("rate")).alias("rate")
        )

    def _to_base(self, lines: pl.DataFrame, absurd: pl.Expr) -> pl.DataFrame:
        divisor = pl.lit(10 ** (SCALE_DIGITS + RATE_DIGITS - minor_digits(self.base)), dtype=pl.Int128)
        without_rate = sentences.fill(
            no_rate_template(),
            currency=pl.col("currency"),
            day=pl.col("day"),
        )
        usable = ~absurd & pl.col("rate").is_not_null()

        def base(column: str) -> pl.Expr:
            value = pl.when(usable).then(pl.col(column)).otherwise(pl.lit(0, dtype=pl.Int128))
            rate = pl.col("rate").fill_null(pl.lit(0, dtype=pl.Int128))
            return divide_half_even(value * rate, divisor)

        lines = lines.with_columns(base("net").alias("base_big"), base("discount").alias("discount_big"))
        too_big = (
            absurd | (pl.col("base_big") > MAX_AMOUNT_MINOR) | (pl.col("discount_big") > MAX_AMOUNT_MINOR)
        )
        return lines.with_columns(
            pl.when(~too_big).then(pl.col("base_big")).cast(pl.Int64).alias("amount_minor"),
            pl.when(~too_big).then(pl.col("discount_big")).cast(pl.Int64).alias("discount_minor"),
            pl.when(pl.col("rate").is_null())
            .then(without_rate)
            .when(too_big)
            .then(pl.lit(_("The amount of the line is too large to be true.")))
            .alias("money_problem"),
        ).drop("base_big", "discount_big")
