"""Simulate a shop into a folder."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from django.utils.translation import gettext as _

from . import catalogue as catalogues
from . import offers
from . import parameters as p
from .block import Block, simulate_block
from .clock import Clock
from .config import HORIZON_DAYS, SimulationConfig, SimulationError
from .streams import BLOCK
from .writer import ShopFiles

MODEL_VERSION = 2
MANIFEST = "manifest.json"

OnProgress = Callable[[int, int], None]  # (customers done, customers in all)


@dataclass(frozen=True)
class SimulationReport:
    """What was written. Shares are of 0..1, or None where there is nobody to count."""

    folder: Path
    events: Path
    customers: Path
    truth: Path
    future: Path
    responses: Path
    manifest: Path
    customer_count: int
    event_lines: int
    lines_by_kind: dict[str, int]
    order_count: int  # with a customer, in the window
    guest_orders: int
    future_orders: int
    churn_share: float | None  # of those who ordered in the year before the end: no order in 90 days
    one_time_share: float | None  # of those who ordered in the window: exactly once
    seconds: float
    campaign: Path | None = None
    campaign_events: Path | None = None


@dataclass
class _Totals:
    lines: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    guest_orders: int = 0
    future_orders: int = 0
    at_risk: int = 0
    churned: int = 0
    buyers: int = 0
    one_time: int = 0

    def add(self, block: Block) -> None:
        kinds = block.events["kind"].value_counts()
        self.lines.update(dict(zip(kinds["kind"].to_list(), kinds["count"].to_list(), strict=True)))
        placed = block.events.filter(pl.col("kind") == "order_placed").unique("order_id")
        self.guest_orders += placed["customer_id"].null_count()
        self.orders += placed["customer_id"].count()
        self.future_orders += block.future.height
        at_risk = block.truth.filter("in_churn_population")
        self.at_risk += at_risk.height
        self.churned += int(at_risk["churned_90d"].sum())
        self.buyers += int((block.truth["orders_in_window"] > 0).sum())
        self.one_time += int((block.truth["orders_in_window"] == 1).sum())


def simulate(
    config: SimulationConfig, out_dir: str | os.PathLike[str], on_progress: OnProgress | None = None
) -> SimulationReport:
    """Write the Parquet files (docs/simulator.md has the list) and a manifest (JSON) to `out_dir`.

    Memory does not grow with the number of customers. Existing files are replaced only once all new ones
    are complete. Raises SimulationError when the folder cannot be written.
    """
    started = time.perf_counter()
    folder = Path(out_dir)
    clock = Clock.of(config)
    catalogue = catalogues.build(config, clock)
    totals = _Totals()
    try:
        with ShopFiles(folder, campaign=config.campaign) as files:
            for number in range(-(-config.customers // BLOCK)):
                block = simulate_block(config, number, clock=clock, catalogue=catalogue)
                _append(files, block)
                totals.add(block)
                if on_progress is not None:
                    on_progress(min((number + 1) * BLOCK, config.customers), config.customers)
            manifest = folder / MANIFEST
            manifest.unlink(missing_ok=True)  # a folder with a manifest is complete
            files.finish()
        report = _report(config, folder, files, totals, seconds=time.perf_counter() - started)
        report.manifest.write_text(json.dumps(_manifest(config, report), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SimulationError(
            _(
                "The files cannot be written to %(folder)s: %(why)s. Name a folder that can be written and has room."
            )
            % {"folder": folder, "why": error.strerror or error}
        ) from error
    return report


def _append(files: ShopFiles, block: Block) -> None:
    files.append("events", block.events)
    files.append("customers", block.customers)
    files.append("truth", block.truth)
    files.append("future", block.future)
    files.append("responses", block.responses)
    if block.campaign is not None and block.campaign_events is not None:
        files.append("campaign", block.campaign)
        files.append("campaign_events", block.campaign_events)


def _report(
    config: SimulationConfig, folder: Path, files: ShopFiles, totals: _Totals, *, seconds: float
) -> SimulationReport:
    return SimulationReport(
        folder=folder,
        **files.paths,
        manifest=folder / MANIFEST,
        customer_count=config.customers,
        event_lines=totals.lines.total(),
        lines_by_kind=dict(sorted(totals.lines.items())),
        order_count=totals.orders,
        guest_orders=totals.guest_orders,
        future_orders=totals.future_orders,
        churn_share=totals.churned / totals.at_risk if totals.at_risk else None,
        one_time_share=totals.one_time / totals.buyers if totals.buyers else None,
        seconds=round(seconds, 2),
    )


def _manifest(config: SimulationConfig, report: SimulationReport) -> dict[str, Any]:
    """Everything the files follow from; free of paths and clock times, so that equal runs give equal bytes."""
    return {
        "model_version": MODEL_VERSION,
        "preset": "tierwise",
        "configuration": {
            "customers": config.customers,
            "months": config.months,
            "seed": config.seed,
            "start": config.start.isoformat(),
            "end": config.end.isoformat(),
            "horizon_days": HORIZON_DAYS,
            "currency": config.currency,
            "sequence_signal": config.sequence_signal,
            "campaign": config.campaign,
            "block": BLOCK,
        },
        "counts": {
            "customers": report.customer_count,
            "event_lines": report.event_lines,
            "lines_by_kind": report.lines_by_kind,
            "orders": report.order_count,
            "guest_orders": report.guest_orders,
            "future_orders": report.future_orders,
            "churn_share": report.churn_share,
            "one_time_share": report.one_time_share,
        },
        "parameters": _parameters(),
    }


def _parameters() -> dict[str, Any]:
    tables = {
        "country": p.COUNTRIES,
        "channel": p.CHANNELS,
        "age_band": p.AGE_BANDS,
        "newsletter_frequency": p.NEWSLETTERS,
        "household_size": p.HOUSEHOLDS,
        "shopper_type": p.SHOPPER_TYPES,
    }
    numbers = {name.lower(): value for name, value in vars(p).items() if isinstance(value, float)}
    levels = {name: {level: asdict(what) for level, what in table.items()} for name, table in tables.items()}
    return {"base": asdict(p.BASE), "levels": levels, **numbers, "responses": offers.described()}
