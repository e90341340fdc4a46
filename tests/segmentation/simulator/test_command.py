"""The command simulate_shop."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command


def simulate_shop(*arguments):
    out = io.StringIO()
    call_command("simulate_shop", *arguments, stdout=out)
    return out.getvalue()


def test_it_writes_the_files_and_one_line_of_summary(tmp_path):
    out = simulate_shop("--customers=30", "--months=6", "--seed=3", "--end=2025-07-01", f"--out={tmp_path}")
    assert {path.name for path in tmp_path.iterdir()} == {
        "events.parquet",
        "customers.parquet",
        "truth.parquet",
        "future.parquet",
        "responses.parquet",
        "manifest.json",
    }
    assert out.count("\n") == 1
    assert "30 customers" in out
    assert str(tmp_path) in out


def test_a_campaign_is_played_and_measured_beside_the_truth(tmp_path):
    out = simulate_shop(
        "--customers=400", "--months=6", "--end=2025-07-01", "--campaign", f"--out={tmp_path}"
    )
    assert (tmp_path / "campaign_events.parquet").exists()
    assert re.search(
        r"made [+-]\d+\.\d% more of them order \([+-]\d+\.\d% to [+-]\d+\.\d%\), in truth \+", out
    )
    simulate_shop("--customers=400", "--months=6", "--end=2025-07-01", f"--out={tmp_path}")
    assert not list(tmp_path.glob("campaign*"))


def configuration(folder):
    return json.loads((folder / "manifest.json").read_text())["configuration"]


def test_it_ends_today_in_its_data_folder_unless_told_otherwise(tmp_path, settings):
    settings.VAR_DIR = tmp_path
    before = datetime.now(UTC).date()
    simulate_shop("--customers=5", "--months=3")
    written = configuration(tmp_path / "simulated")
    assert before.isoformat() <= written["end"] <= datetime.now(UTC).date().isoformat()
    assert written["sequence_signal"] is True
    assert written["currency"] == "GBP"


def test_it_takes_a_currency_and_the_signal_switch(tmp_path):
    simulate_shop(
        "--customers=5", "--months=3", "--currency=eur", "--no-sequence-signal", f"--out={tmp_path}"
    )
    assert configuration(tmp_path)["currency"] == "EUR"
    assert configuration(tmp_path)["sequence_signal"] is False


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--customers=0", "customers"),
        ("--months=2", "months"),
        ("--seed=-1", "seed"),
        ("--end=2025-02-30", "2025-02-30"),
        ("--end=yesterday", "yesterday"),
        ("--currency=pounds", "currency"),
    ],
)
def test_silly_arguments_are_refused_and_nothing_is_written(tmp_path, argument, named):
    with pytest.raises(CommandError, match=named):
        simulate_shop(argument, f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
