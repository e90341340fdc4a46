"""Runs: the same seed gives the same shop, block by block, and nothing half-written."""

from __future__ import annotations

import gc
import json
import weakref

import polars as pl
import pyarrow.parquet as pq
import pytest

from segmentation.simulator import SimulationConfig, SimulationError, run, simulate
from segmentation.simulator.streams import BLOCK

from .conftest import END, simulated


def settings(**changes):
    return SimulationConfig(**({"customers": 300, "months": 12, "seed": 5, "end": END} | changes))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    simulate(settings(), tmp_path / "one")
    simulate(settings(), tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_is_another_shop(tmp_path):
    one = simulated(tmp_path / "one", customers=300)
    two = simulated(tmp_path / "two", customers=300, seed=2)
    assert not one.truth["buying_rate"].equals(two.truth["buying_rate"])
    assert set(one.events["product_name"]) != set(two.events["product_name"])


def test_a_customer_is_the_same_however_many_others_there_are(world, tmp_path):
    few = simulated(tmp_path, customers=40)
    known = pl.col("customer_id") <= "C0000040"
    assert few.events.filter(known).equals(world.events.filter(known))
    assert few.customers.equals(world.customers.head(40))
    assert few.truth.equals(world.truth.head(40))
    assert few.future.equals(world.future.filter(known))


def test_customers_are_written_block_by_block(world):
    blocks = -(-world.config.customers // BLOCK)
    assert blocks == 2
    for path in (world.report.events, world.report.customers, world.report.truth, world.report.future):
        assert pq.ParquetFile(path).num_row_groups == blocks


def test_no_block_is_kept_in_memory_after_it_was_written(tmp_path, monkeypatch):
    alive, most = [], []
    real = run.simulate_block

    def watched(*args, **kwargs):
        gc.collect()
        most.append(sum(reference() is not None for reference in alive))
        block = real(*args, **kwargs)
        alive.append(weakref.ref(block))
        return block

    monkeypatch.setattr(run, "simulate_block", watched)
    simulate(settings(customers=3 * BLOCK + 1, months=3), tmp_path)
    assert len(most) == 4
    assert max(most) <= 1


def test_progress_is_told_after_each_block_up_to_the_end(tmp_path):
    told = []
    simulate(
        settings(customers=BLOCK + 7, months=3), tmp_path, lambda done, total: told.append((done, total))
    )
    assert told == [(BLOCK, BLOCK + 7), (BLOCK + 7, BLOCK + 7)]


def test_the_manifest_holds_configuration_counts_and_parameters(world):
    manifest = json.loads(world.report.manifest.read_text())
    assert manifest["preset"] == "tierwise"
    assert manifest["configuration"]["end"] == "2025-07-01"
    assert manifest["configuration"]["start"] == "2023-07-01"
    assert manifest["counts"]["event_lines"] == world.events.height
    assert len(manifest["parameters"]["levels"]["shopper_type"]) == 10


def test_a_run_that_fails_leaves_the_old_files_and_no_parts(tmp_path, monkeypatch):
    simulate(settings(), tmp_path)
    before = contents(tmp_path)

    def broken(*args, **kwargs):
        raise RuntimeError("stopped")

    monkeypatch.setattr(run, "simulate_block", broken)
    with pytest.raises(RuntimeError):
        simulate(settings(seed=6), tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SimulationError, match="taken"):
        simulate(settings(), tmp_path / "taken")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"customers": 0}, "customers"),
        ({"customers": 10**9}, "customers"),
        ({"months": 2}, "months"),
        ({"months": 1000}, "months"),
        ({"seed": -1}, "seed"),
        ({"currency": "pounds"}, "currency"),
        ({"end": END.replace(year=1900)}, "end"),
    ],
)
def test_silly_settings_are_refused_by_name(changes, named):
    with pytest.raises(SimulationError, match=named):
        settings(**changes)
