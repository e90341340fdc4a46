"""Sentences about many lines at once: a translated template filled from columns."""

from __future__ import annotations

import re

import polars as pl

_PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]")


def fill(template: str, **values: pl.Expr | str | int) -> pl.Expr:
    """`template % values` for every row; values may be expressions. Long values are cut."""
    parts: list[pl.Expr] = []
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        parts.append(pl.lit(template[position : match.start()]))
        value = values[match.group(1)]
        expression = value if isinstance(value, pl.Expr) else pl.lit(str(value))
        parts.append(expression.cast(pl.String).str.slice(0, 80).fill_null(""))
        position = match.end()
    parts.append(pl.lit(template[position:]))
    return pl.concat_str(parts)
