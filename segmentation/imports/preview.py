"""What an import would do with the first lines of a file; writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation.imports import plan, rejects
from segmentation.imports.customer_loader import CustomerLoader
from segmentation.imports.money import Money
from segmentation.imports.normalise import Normalised, Normaliser
from segmentation.imports.plan import Plan, Request
from segmentation.imports.problems import ImportProblem, Reject
from segmentation.imports.report import skip_label
from segmentation.imports.tables import LINE, Chunk
from segmentation.kinds import EventKind
from segmentation.models import EventSource, Shop

LINES = 20
_CELL = 40
_WHY = "\x00why"  # in a row: the next cell is the reason


@dataclass(frozen=True)
class Preview:
    """A table for staff: headings, one row a line, and one sentence about it all."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sentence: str


def preview(request: Request, *, lines: int = LINES) -> Preview:
    """Raises ImportProblem when the file cannot be read at all."""
    shop = Shop.objects.first() or Shop()
    prepared = plan.prepare(request, shop=shop)
    chunk = next(iter(prepared.table.chunks(lines)), None)
    if chunk is None:
        raise ImportProblem(_("%(file)s has column headings but no lines.") % {"file": request.path.name})
    return _events(prepared, chunk, shop) if prepared.events is not None else _customers(prepared, chunk)


def _events(prepared: Plan, chunk: Chunk, shop: Shop) -> Preview:
    assert prepared.events is not None
    normalised = Normaliser(
        prepared.events,
        prepared.columns,
        Money.of(shop),
        received_at=timezone.now(),
        frozen=shop.frozen_on is not None,
        join_guests=shop.join_guests_by_email and "email" in prepared.columns,
    )(chunk.frame)
    bad = [*chunk.rejects, *rejects.of_frame(normalised.rejected, chunk.frame)]
    rows = _event_rows(normalised, shop) + _skipped_rows(normalised) + [_reject_row(item) for item in bad]
    events = normalised.lines.select("key", "kind", "version").n_unique() if len(normalised.lines) else 0
    sentence = _(
        "Of the first %(lines)d lines %(kept)d would be imported as %(events)d events, %(skipped)d left out and "
        "%(rejected)d rejected. Nothing was written."
    ) % {
        "lines": len(chunk.frame) + len(chunk.rejects),
        "kept": len(normalised.lines),
        "events": events,
        "skipped": len(normalised.skipped),
        "rejected": len(bad),
    }
    headings = (
        _("line"), _("outcome"), _("kind"), _("customer"), _("time (UTC)"), _("product"), _("units"), _("amount"),
    )  # fmt: skip
    return Preview(headings, _sorted(rows, len(headings)), sentence)


def _event_rows(normalised: Normalised, shop: Shop) -> list[tuple[str, ...]]:
    digits = len(str(shop.minor_per_major)) - 1
    return [
        (
            str(row[LINE]),
            _("imported"),
            EventKind(row["kind"]).slug,
            row["customer"] or row["email"],
            f"{row['at']:%Y-%m-%d %H:%M}",
            (row["product"] or "")[:_CELL],
            str(row["quantity"]),
            f"{row['amount_minor'] / shop.minor_per_major:.{digits}f} {shop.base_currency}",
        )
        for row in normalised.lines.iter_rows(named=True)
    ]


def _skipped_rows(normalised: Normalised) -> list[tuple[str, ...]]:
    label = _("left out: %(cause)s")
    return [
        (str(line), label % {"cause": skip_label(cause)}) for line, cause in normalised.skipped.iter_rows()
    ]


def _customers(prepared: Plan, chunk: Chunk) -> Preview:
    loader = CustomerLoader.of(prepared, source=EventSource(slug=prepared.source), received_at=timezone.now())
    people, bad = loader.check(chunk.frame)
    bad = [*chunk.rejects, *bad]
    rows = [
        (
            str(line),
            _("imported"),
            customer.reference,
            customer.country,
            customer.channel,
            values[: _CELL * 2],
        )
        for line, customer, values in people
    ]
    sentence = _(
        "Of the first %(lines)d lines %(kept)d would be imported and %(rejected)d rejected. Nothing was written."
    ) % {"lines": len(chunk.frame) + len(chunk.rejects), "kept": len(people), "rejected": len(bad)}
    headings = (_("line"), _("outcome"), _("customer"), _("country"), _("channel"), _("attributes"), _("why"))
    return Preview(headings, _sorted([*rows, *(_reject_row(item) for item in bad)], len(headings)), sentence)


def _reject_row(reject: Reject) -> tuple[str, ...]:
    return (str(reject.line), _("rejected"), _WHY, reject.reason)


def _sorted(rows: list[tuple[str, ...]], width: int) -> tuple[tuple[str, ...], ...]:
    """By line; what follows `_WHY` goes to the last column."""
    ordered = sorted(rows, key=lambda row: int(row[0]))
    return tuple(_widened(row, width) for row in ordered)


def _widened(row: tuple[str, ...], width: int) -> tuple[str, ...]:
    if _WHY not in row:
        return (*row, *[""] * (width - len(row)))
    position = row.index(_WHY)
    return (*row[:position], *[""] * (width - position - 1), *row[position + 1 :])
