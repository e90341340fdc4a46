"""A chunk of a file's lines in the normal form; what is wrong with a line becomes a sentence beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from django.utils.translation import gettext as _

from segmentation.imports import casts, sentences
from segmentation.imports.mapping import EventMapping
from segmentation.imports.money import Money
from segmentation.imports.tables import LINE
from segmentation.kinds import EventKind
from segmentation.normal import (
    EARLIEST,
    LATEST,
    MAX_AHEAD,
    MAX_CATEGORY,
    MAX_CODE,
    MAX_CODES,
    MAX_PRODUCT_ID,
    MAX_PRODUCT_NAME,
    MAX_QUANTITY,
    MAX_REFERENCE,
    MAX_SOURCE_KEY,
    MAX_TEXT,
    MAX_VERSION,
    RATINGS,
)

NO_CUSTOMER = "no_customer"
FREE_LINE = "free_line"
ERASED = "erased"
_ORDERS = (EventKind.ORDER_PLACED, EventKind.ORDER_CHANGED)
_LENGTHS = {"customer": MAX_REFERENCE, "order": MAX_SOURCE_KEY, "event": MAX_SOURCE_KEY, "product": MAX_PRODUCT_ID,
            "text": MAX_TEXT, "email": 254, "country": 64, "channel": 64, "codes": MAX_CODES * MAX_CODE}  # fmt: skip
# The normal form of a line, besides LINE. Money in minor units; quantity and amounts are never negative.
SCHEMA: dict[str, pl.DataType] = {
    "customer": pl.String(), "email": pl.String(), "at": pl.Datetime("us", "UTC"), "kind": pl.Int64(),
    "key": pl.String(), "version": pl.Int64(), "order": pl.String(), "product": pl.String(),
    "product_name": pl.String(), "category": pl.String(), "quantity": pl.Int64(), "amount_minor": pl.Int64(),
    "discount_minor": pl.Int64(), "original_minor": pl.Int64(), "currency": pl.String(), "rating": pl.Float64(),
    "text": pl.String(), "channel": pl.String(), "country": pl.String(), "codes": pl.String(),
}  # fmt: skip


@dataclass(frozen=True)
class Normalised:
    """`lines` are good (SCHEMA and LINE); `skipped` are left out on purpose, by cause; `rejected` has LINE, reason."""

    lines: pl.DataFrame
    skipped: pl.DataFrame
    rejected: pl.DataFrame


@dataclass(frozen=True)
class Normaliser:
    mapping: EventMapping
    columns: Mapping[str, str]  # our field → the file's column
    money: Money
    received_at: datetime
    frozen: bool
    join_guests: bool = False

    def __call__(self, raw: pl.DataFrame) -> Normalised:
        lines = self._add_kind(raw.select(pl.col(LINE).cast(pl.Int64), **self._fields(raw)))
        lines = lines.with_columns(self._skip().alias("skip")).with_columns(self._problem().alias("problem"))
        good = lines.filter(pl.col("skip").is_null() & pl.col("problem").is_null())
        good = self.money.convert(_with_amounts(good)).with_columns(self._key().alias("key"))
        good = good.with_columns(pl.coalesce("money_problem", _long_key()).alias("problem"))
        bad = pl.col("problem").is_not_null()
        return Normalised(
            lines=good.filter(~bad).select(LINE, *(pl.col(name).cast(kind) for name, kind in SCHEMA.items())),
            skipped=lines.filter(pl.col("skip").is_not_null()).select(LINE, "skip"),
            rejected=pl.concat(
                [
                    lines.filter(pl.col("skip").is_null() & bad).select(LINE, reason="problem"),
                    good.filter(bad).select(LINE, reason="problem"),
                ]
            ).sort(LINE),
        )

    def _fields(self, raw: pl.DataFrame) -> dict[str, pl.Expr]:
        """Typed fields, and the text of those whose value must be told when it does not fit."""
        zone = self.mapping.time_zone
        comma = self.mapping.decimal_comma
        empty_text, zero = pl.lit(None, dtype=pl.String), pl.lit(0, dtype=pl.Int128)
        texts = (
            "email",
            "order",
            "event",
            "product_name",
            "category",
            "text",
            "channel",
            "country",
            "currency",
            "codes",
        )
        fields: dict[str, pl.Expr] = {
            name: casts.text(*self._source(raw, name)) if name in self.columns else empty_text
            for name in (*texts, "kind_word")
        }
        for name in ("customer", "product"):
            fields[name] = casts.reference(*self._source(raw, name)) if name in self.columns else empty_text
        if "kind" in self.columns:
            fields["kind_word"] = casts.text(*self._source(raw, "kind"))
        fields["at"] = casts.moment(*self._source(raw, "time"), zone=zone, formats=self.mapping.time_formats)
        fields["at_word"] = casts.text(*self._source(raw, "time"))
        for name in ("quantity", "unit_price", "amount", "discount", "version", "rating"):
            given = name in self.columns
            fields[name] = casts.exact(*self._source(raw, name), decimal_comma=comma) if given else zero
            fields[f"{name}_word"] = casts.text(*self._source(raw, name)) if given else empty_text
        return fields

    def _source(self, raw: pl.DataFrame, name: str) -> tuple[str, pl.DataType]:
        column = self.columns[name]
        return column, raw.schema[column]

    def _add_kind(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Kind, currency, and quantity and amount without their sign: it only says which way the goods went."""
        if "kind" in self.columns:
            words = {word.lower(): int(kind) for word, kind in self.mapping.kinds.items()}
            words |= {kind.slug: int(kind) for kind in EventKind if not self.mapping.kinds}
            kind = (
                pl.col("kind_word")
                .str.to_lowercase()
                .replace_strict(words, default=None, return_dtype=pl.Int64)
            )
        else:
            kind = pl.lit(int(self.mapping.kind), dtype=pl.Int64)
        returned = (pl.col("quantity") < 0) | (pl.col("amount") < 0)
        if self.mapping.cancelled_prefix:
            returned |= pl.col("order").str.starts_with(self.mapping.cancelled_prefix).fill_null(False)
        lines = lines.with_columns(kind.alias("kind"))
        turned = pl.col("kind").is_in([int(kind) for kind in _ORDERS]) & returned
        default = self.mapping.currency or self.money.base
        return lines.with_columns(
            pl.when(turned).then(int(EventKind.REFUNDED)).otherwise("kind").alias("kind"),
            pl.col("quantity").abs(),
            pl.col("amount").abs(),
            pl.col("currency").str.to_uppercase().fill_null(default).alias("currency"),
        )

    def _skip(self) -> pl.Expr:
        home = pl.col("customer").is_not_null()
        if self.join_guests:
            home |= pl.col("email").is_not_null()
        skip = pl.when(~home).then(pl.lit(NO_CUSTOMER))
        if self.mapping.skip_free_lines and "unit_price" in self.columns:
            return skip.when(pl.col("unit_price") <= 0).then(pl.lit(FREE_LINE)).otherwise(None)
        return skip.otherwise(None)

    def _problem(self) -> pl.Expr:
        """The first thing wrong with a line, as a sentence; null for a good one."""
        return pl.coalesce(
            *self._time_problems(), *self._kind_problems(), *self._number_problems(), *self._length_problems()
        )

    def _time_problems(self) -> list[pl.Expr]:
        at, word = pl.col("at"), pl.col("at_word")
        unreadable = _("“%(value)s” is not a date and time; use 2024-05-31 18:45 or give a time_format.")
        problems = [
            pl.when(word.is_null()).then(pl.lit(_("The line has no date."))),
            pl.when(at.is_null()).then(sentences.fill(unreadable, value=word)),
            pl.when(at < EARLIEST).then(sentences.fill(_("The date %(value)s is before 1990."), value=word)),
        ]
        future = sentences.fill(_("The date %(value)s lies in the future."), value=word)
        latest = LATEST if self.frozen else self.received_at + MAX_AHEAD
        return [*problems, pl.when(at > latest).then(future)]

    def _kind_problems(self) -> list[pl.Expr]:
        known = ", ".join(self.mapping.kinds or [kind.slug for kind in EventKind])
        unknown = _("“%(value)s” is not a known kind of event; known are %(known)s.")
        code = _("“%(value)s” is not a currency code such as GBP.")
        return [
            pl.when(pl.col("kind").is_null()).then(
                sentences.fill(unknown, value=pl.col("kind_word"), known=pl.lit(known))
            ),
            pl.when(~pl.col("currency").str.contains(r"^[A-Z]{3}$")).then(
                sentences.fill(code, value=pl.col("currency"))
            ),
            pl.when(pl.lit("event" in self.columns) & pl.col("event").is_null()).then(
                pl.lit(_("The event has no id."))
            ),
        ]

    def _number_problems(self) -> list[pl.Expr]:
        names = {
            "quantity": _("quantity"), "unit_price": _("price"), "amount": _("amount"), "discount": _("discount"),
            "version": _("version"), "rating": _("rating"),
        }  # fmt: skip
        unreadable = _("The %(field)s “%(value)s” is not a number.")
        problems = [
            pl.when(pl.col(name).is_null() & pl.col(f"{name}_word").is_not_null()).then(
                sentences.fill(unreadable, field=label, value=pl.col(f"{name}_word"))
            )
            for name, label in names.items()
        ]
        negative = _("The %(field)s %(value)s is negative.")
        problems += [
            pl.when(pl.col(name) < 0).then(
                sentences.fill(negative, field=names[name], value=pl.col(f"{name}_word"))
            )
            for name in ("unit_price", "discount")
        ]
        return [*problems, *self._quantity_problems(), *self._range_problems()]

    def _quantity_problems(self) -> list[pl.Expr]:
        value, word = pl.col("quantity"), pl.col("quantity_word")
        whole = _("The quantity %(value)s is not a whole number.")
        large = _("The quantity %(value)s is too large to be true.")
        order = pl.col("kind").is_in([int(kind) for kind in (*_ORDERS, EventKind.REFUNDED)])
        none = order & pl.lit("quantity" in self.columns) & (word.is_null() | (value == 0))
        return [
            pl.when(value % casts.SCALE != 0).then(sentences.fill(whole, value=word)),
            pl.when(value > MAX_QUANTITY * casts.SCALE).then(sentences.fill(large, value=word)),
            pl.when(none).then(pl.lit(_("The line has no quantity, or it is 0."))),
        ]

    def _range_problems(self) -> list[pl.Expr]:
        low, high = (int(limit * casts.SCALE) for limit in RATINGS)
        given = pl.col("rating_word").is_not_null()
        rating = _("The rating %(value)s is not between 1 and 5.")
        return [
            pl.when(given & ~pl.col("rating").is_between(low, high)).then(
                sentences.fill(rating, value=pl.col("rating_word"))
            ),
            pl.when(pl.max_horizontal("unit_price", "amount", "discount") > 10**10 * casts.SCALE).then(
                pl.lit(_("The amount of the line is too large to be true."))
            ),
            pl.when(pl.col("version").abs() > MAX_VERSION).then(
                sentences.fill(
                    _("The version %(value)s is too large to be true."), value=pl.col("version_word")
                )
            ),
            pl.when(pl.col("discount") > _gross()).then(
                pl.lit(_("The discount is larger than the price of the line."))
            ),
        ]

    def _length_problems(self) -> Sequence[pl.Expr]:
        long = _("The %(field)s is %(length)s characters long; at most %(most)s are kept.")
        unreadable = _("The %(field)s contains characters that are not text.")
        return [
            pl.when(pl.col(name).str.len_chars() > most).then(
                sentences.fill(
                    long, field=self.columns.get(name, name), length=pl.col(name).str.len_chars(), most=most
                )
            )
            for name, most in _LENGTHS.items()
        ] + [
            pl.when(pl.col(name).str.contains("\x00", literal=True)).then(
                sentences.fill(unreadable, field=self.columns.get(name, name))
            )
            for name in (*_LENGTHS, "product_name", "category")
            if name in self.columns
        ]

    def _key(self) -> pl.Expr:
        """What makes lines one event: its id, else the order, else the moment; a return apart from a purchase."""
        if "event" in self.columns:
            return pl.col("event")
        who = pl.coalesce("customer", "email")
        sign = pl.when(pl.col("kind") == int(EventKind.REFUNDED)).then(pl.lit("-")).otherwise(pl.lit("+"))
        moment = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").str.replace(".000000", "", literal=True)
        if self.mapping.group_by == "order":
            moment = pl.coalesce(pl.concat_str(pl.lit("#"), pl.col("order")), moment)
        return pl.concat_str(who, moment, sign, separator="|")


def _gross() -> pl.Expr:
    """What the lines cost before discounts: the amount if the file has one, else quantity times price."""
    count = pl.when(pl.col("quantity_word").is_null()).then(casts.SCALE).otherwise("quantity") // casts.SCALE
    product = count * pl.col("unit_price")
    return pl.when(pl.col("amount_word").is_null()).then(product).otherwise("amount").fill_null(0)


def _with_amounts(lines: pl.DataFrame) -> pl.DataFrame:
    """Net amount (an amount in the file is net already), discount and plain quantity, version and rating."""
    listed = pl.col("amount_word").is_not_null()
    discount = pl.col("discount").fill_null(0)
    counted = pl.col("quantity_word").is_not_null()
    one = pl.col("product").is_not_null().cast(pl.Int64)
    return lines.with_columns(
        pl.when(listed).then("amount").otherwise(_gross() - discount).alias("net"),
        discount.alias("discount"),
        pl.when(counted)
        .then(pl.col("quantity") // casts.SCALE)
        .otherwise(one)
        .cast(pl.Int64)
        .alias("quantity"),
        (pl.col("version").fill_null(0) // casts.SCALE).cast(pl.Int64).alias("version"),
        pl.when(pl.col("rating_word").is_not_null())
        .then(pl.col("rating").cast(pl.Float64) / casts.SCALE)
        .alias("rating"),
        pl.coalesce("product", pl.col("product_name").str.slice(0, MAX_PRODUCT_ID)).alias("product"),
        pl.col("product_name").str.slice(0, MAX_PRODUCT_NAME),
        pl.col("category").str.slice(0, MAX_CATEGORY),
    )


def _long_key() -> pl.Expr:
    long = _("The key of the event is longer than %(most)s characters.")
    return pl.when(pl.col("key").str.len_chars() > MAX_SOURCE_KEY).then(
        sentences.fill(long, most=MAX_SOURCE_KEY)
    )
