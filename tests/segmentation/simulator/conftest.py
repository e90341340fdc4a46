"""Two shops of 3,000 customers, simulated once: with and without a meaning in the order of steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl
import pytest

from segmentation.simulator import SimulationConfig, SimulationReport, simulate

END = date(2025, 7, 1)


@dataclass(frozen=True)
class Simulated:
    config: SimulationConfig
    report: SimulationReport
    events: pl.DataFrame
    customers: pl.DataFrame
    truth: pl.DataFrame
    future: pl.DataFrame


def simulated(folder, **settings) -> Simulated:
    config = SimulationConfig(**({"customers": 3_000, "months": 24, "seed": 1, "end": END} | settings))
    report = simulate(config, folder)
    return Simulated(
        config=config,
        report=report,
        events=pl.read_parquet(report.events),
        customers=pl.read_parquet(report.customers),
        truth=pl.read_parquet(report.truth),
        future=pl.read_parquet(report.future),
    )


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Simulated:
    return simulated(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def silent_world(tmp_path_factory) -> Simulated:
    """The same shop with `sequence_signal=False`."""
    return simulated(tmp_path_factory.mktemp("silent"), sequence_signal=False)


@pytest.fixture(scope="session")
def orders(world) -> pl.DataFrame:
    """One row an order of a customer: id, customer, time, amount, discount."""
    lines = world.events.filter((pl.col("kind") == "order_placed") & pl.col("customer_id").is_not_null())
    return lines.group_by("order_id").agg(
        pl.col("customer_id").first(),
        pl.col("occurred_at").first(),
        amount=(pl.col("quantity") * pl.col("unit_price") - pl.col("discount")).sum(),
        discount=pl.col("discount").sum(),
    )
