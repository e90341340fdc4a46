"""Columns of any type to text, exact numbers and times."""

from __future__ import annotations

import polars as pl

# Prices keep this many decimals; products and sums of them are whole numbers, so they are exact.
SCALE_DIGITS = 8
SCALE = 10**SCALE_DIGITS
_ZONE = r"(\d)(Z|z|[+-]\d{2}:?\d{2})$"
ISO_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
MOST_MICROSECONDS = 10**16  # about the year 2286: later times are wrong anyway and would overflow
EPOCHS = {"epoch_seconds": 1_000_000, "epoch_milliseconds": 1_000}


def text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Trimmed text, null when empty; 13085.0 reads as 13085, as it was before a spreadsheet touched it."""
    expression = pl.col(column)
    if dtype.is_float():
        whole = expression.is_finite() & (expression == expression.round()) & (expression.abs() < 2**53)
        as_integer = pl.when(whole).then(expression).cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(whole).then(as_integer).otherwise(expression.cast(pl.String))
    if isinstance(dtype, pl.Datetime):
        return expression.dt.strftime("%Y-%m-%dT%H:%M:%S")
    trimmed = expression.cast(pl.String, strict=False).str.strip_chars()
    return pl.when(trimmed != "").then(trimmed)


def reference(column: str, dtype: pl.DataType) -> pl.Expr:
    """An id: text, and 13085.0 in a text file reads as 13085 too."""
    return text(column, dtype).str.replace(r"^(\d+)\.0$", "${1}")


def exact(column: str, dtype: pl.DataType, *, decimal_comma: bool = False) -> pl.Expr:
    """Int128 in units of 10^-8, null where the cell is no number. Floats count as their shortest decimal form."""
    as_text = pl.col(column).cast(pl.String, strict=False).str.strip_chars()
    if decimal_comma and dtype == pl.String:
        as_text = as_text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return as_text.cast(pl.Decimal(38, SCALE_DIGITS), strict=False).to_physical()


def number(column: str, dtype: pl.DataType) -> pl.Expr:
    """Float64, null where the cell is no finite number."""
    value = text(column, dtype).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def moment(column: str, dtype: pl.DataType, *, zone: str, formats: tuple[str, ...] = ()) -> pl.Expr:
    """UTC with microseconds, null where the cell is no time.

    Times without an offset are local times of `zone`: one that the clock shows twice is the first, one it
    skips is an hour later. Text is ISO 8601 or one of `formats`.
    """
    epoch = next((EPOCHS[name] for name in formats if name in EPOCHS), None)
    if epoch is not None:
        ticks = text(column, dtype).cast(pl.Int64, strict=False)
        sane = ticks.abs() < MOST_MICROSECONDS // epoch
        return pl.when(sane).then(ticks * epoch).cast(pl.Datetime("us", "UTC"))
    if isinstance(dtype, pl.Datetime):
        value = pl.col(column).dt.cast_time_unit("us")
        return value.dt.convert_time_zone("UTC") if dtype.time_zone else to_utc(value, zone)
    if dtype == pl.Date:
        return to_utc(pl.col(column).cast(pl.Datetime("us")), zone)
    return _parsed(text(column, dtype), zone=zone, formats=formats)


def to_utc(naive: pl.Expr, zone: str) -> pl.Expr:
    local = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    skipped = (naive + pl.duration(hours=1)).dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    )
    return local.fill_null(skipped).dt.convert_time_zone("UTC")


def _parsed(value: pl.Expr, *, zone: str, formats: tuple[str, ...]) -> pl.Expr:
    with_space = value.str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "${1} ")
    offset = with_space.str.extract(r"\d" + _ZONE.removeprefix(r"(\d)"), 1)
    body = with_space.str.replace(_ZONE, "${1}")
    iso = [body.str.to_datetime(form, time_unit="us", strict=False) for form in ISO_FORMATS]
    days = body.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    own = [
        value.str.to_datetime(form, time_unit="us", strict=False)
        if "%H" in form or "%I" in form
        else value.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        for form in formats
    ]
    naive = pl.coalesce([*iso, days, *own])
    return pl.when(offset.is_null()).then(to_utc(naive, zone)).otherwise(_shifted(naive, offset))


def _shifted(naive: pl.Expr, offset: pl.Expr) -> pl.Expr:
    digits = offset.str.replace_all(r"\D", "")
    hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = digits.str.slice(2, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    return (naive - pl.duration(minutes=sign * (hours * 60 + minutes))).dt.replace_time_zone("UTC")
