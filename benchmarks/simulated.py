"""Simulated shops, whose truth is known: how near the served blend comes to the best forecast possible, and whether a
reader of events finds what only the order of browsing tells (docs/simulator.md). A part of `make quality`.

    python -m benchmarks.simulated SEED on|off CUSTOMERS OUT.parquet     one shop, in the database of the environment

Each shop is simulated, imported and learned in a process and a database of its own; the oracle knows every customer's
parameters and past orders, and nobody's future.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

SEEDS = (1, 2, 3, 4, 5)
CUSTOMERS, MONTHS, HORIZON = 8000, 24, 90
END = date(2025, 7, 1)
# Days that teach, counted back from the end; the end itself is the test.
BACK = (360, 270, 180, 90)
NEWEST = 24
SIGNALS = ("on", "off")
# Processes beside each other; each learns on a thread or two.
AT_ONCE = 2
# The tabular network, and the same one with a reader of events beside it.
TABULAR, SEQUENCE = "tabm", "customer_net"
Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """Makes a row of the report: metric, value, interval (low, high), rows behind it."""

    dataset: str
    command: str

    def row(self, target: str, model: str, metric: str, values: Any, n: int) -> Row:
        import numpy as np

        low, high = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (values[0], values[0])
        return {
            "dataset": self.dataset,
            "target": target,
            "model": model,
            "metric": metric,
            "value": round(float(values[0]), 6),
            "interval": [round(float(low), 6), round(float(high), 6)],
            "n": n,
            "command": self.command,
        }


def report(place: Path, results: Path, *, rounds: int, command: str) -> list[Row]:
    """Make what is not there yet of all shops under `place`, and compare. results: where the predictions are kept."""
    import polars as pl

    shops = {
        (seed, signal): place / f"simulated-{seed}-{signal}-{CUSTOMERS}.parquet"
        for signal in SIGNALS
        for seed in SEEDS
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        missing = [(key, path) for key, path in shops.items() if not path.exists()]
        list(pool.map(lambda one: _one_shop(*one[0], one[1], place), missing))
    tables = [
        pl.read_parquet(path).with_columns(seed=seed, signal=pl.lit(signal))
        for (seed, signal), path in shops.items()
    ]
    whole = pl.concat(tables, how="diagonal")
    whole.write_parquet(results / "simulated_shops.parquet")
    made = Made(f"Simulated shop, {len(SEEDS)} seeds", command)
    rows = _beside_the_oracle(whole.filter(signal="on"), rounds, made)
    for signal in SIGNALS:
        rows += _gain(whole.filter(signal=signal), signal, rounds, made)
    return rows


def _one_shop(seed: int, signal: str, path: Path, place: Path) -> None:
    database = place / f"simulated-{seed}-{signal}.sqlite3"
    database.unlink(missing_ok=True)
    settings = {**os.environ, "DATABASE_URL": f"sqlite:///{database}"}
    program = [sys.executable, "-m", "benchmarks.simulated", str(seed), signal, str(CUSTOMERS), str(path)]
    subprocess.run(program, check=True, env=settings)
    for leftover in place.glob(f"{database.name}*"):
        leftover.unlink()


def _beside_the_oracle(whole: Any, rounds: int, made: Made) -> list[Row]:
    """(AUC − .5) and Gini of the served blend as a share of the oracle's, the mean over seeds."""
    from segmentation.ml import metrics

    rows = []
    for target, name, of, less, label, columns in (
        ("churn", "auc", metrics.auc, 0.5, "churned", ("churn.blend", "oracle.churn")),
        ("future_value", "gini", metrics.normalised_gini, 0.0, "spend", ("value.blend", "oracle.value")),
    ):
        own, oracle = (_mean_over_seeds(whole, rounds, of, label, column) for column in columns)
        rows.append(made.row(target, "blend", name, own, len(whole)))
        rows.append(made.row(target, "oracle", name, oracle, len(whole)))
        share = (own - less) / (oracle - less)
        rows.append(made.row(target, "blend", f"{name} as a share of the oracle's", share, len(whole)))
        print(f"  {target:<14}{name} {own[0]:.4f}, oracle {oracle[0]:.4f}, share {share[0]:.3f}")
    return rows


def _gain(whole: Any, signal: str, rounds: int, made: Made) -> list[Row]:
    """AUC of the reader of events less that of the same network without it, on the same draws."""
    from segmentation.ml import metrics

    both = [
        _mean_over_seeds(whole, rounds, metrics.auc, "churned", f"churn.{n}") for n in (SEQUENCE, TABULAR)
    ]
    gap = both[0] - both[1]
    found = made.row("churn", SEQUENCE, f"auc minus {TABULAR}, order of browsing {signal}", gap, len(whole))
    low, high = found["interval"]
    print(f"  order of browsing {signal}: {SEQUENCE} − {TABULAR} {gap[0]:+.4f} [{low:+.4f}, {high:+.4f}]")
    return [found]


def _mean_over_seeds(whole: Any, rounds: int, measure: Any, label: str, answer: str) -> Any:
    """(1 + rounds,) the plain figure, then one a draw of customers; customers of different shops are different people."""
    import numpy as np

    from segmentation.ml import metrics

    found = []
    for seed in SEEDS:
        part = whole.filter(seed=seed)
        truth, said = part[label].to_numpy(), part[answer].to_numpy()
        ids = np.arange(len(part))
        every = np.concatenate(
            [np.ones((1, len(part))), metrics.bootstrap_weights(ids, rounds=rounds, seed=seed)]
        )
        found.append(metrics.in_chunks(partial(measure, truth, said), every))
    return np.mean(found, axis=0)


def main(seed: int, signal: str, customers: int, path: Path) -> None:
    """One shop: simulate, import, learn as of the days before its end, answer for the end."""
    import tempfile

    from django.core.management import call_command

    from segmentation import imports, simulator, targets
    from segmentation.models import ImportRun, Shop

    call_command("migrate", verbosity=0, interactive=False)
    shop = Shop.get()
    shop.frozen_on = END - timedelta(days=1)
    shop.save()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        simulator.simulate(
            simulator.SimulationConfig(
                customers=customers, months=MONTHS, seed=seed, end=END, sequence_signal=signal == "on"
            ),
            files,
        )
        for kind, name in ((ImportRun.Kind.CUSTOMERS, "customers"), (ImportRun.Kind.EVENTS, "events")):
            imports.run(imports.Request(files / f"{name}.parquet", kind=kind, preset="tierwise"))
        targets.install()
        _answers(shop, files / "truth.parquet", signal).write_parquet(path)


def _answers(shop: Any, truth_file: Path, signal: str) -> Any:
    import polars as pl

    from segmentation import learners, targets, training_frames
    from segmentation.ml import splits
    from segmentation.ml.config import preset
    from segmentation.models import Customer

    wanted = targets.active(["churn", "value_tier", "future_value"])
    days = [END - timedelta(days=back) for back in BACK]
    whole = training_frames.training_frame([*days, END], shop=shop, targets=wanted, sequence_events=NEWEST)
    learn, ask = splits.rows_at(whole, days), splits.rows_at(whole, [END])
    tier = next(target for target in wanted if target.slug == "value_tier")
    cuts = training_frames.tier_cuts(tier, learn.labels[training_frames.SPEND])
    learn = training_frames.with_tiers(learn, cuts)
    schemas = [targets.to_schema(target) for target in wanted]
    config = preset("default", seed=1)
    recipes = {
        "": learners.behaviour(schemas, config),
        SEQUENCE: learners.behaviour(schemas, config, algorithms=[SEQUENCE]),
    }
    if signal == "off":
        recipes = {"": learners.behaviour(schemas, config, algorithms=[TABULAR, SEQUENCE])}
    references = dict(Customer.objects.values_list("pk", "reference"))
    table = pl.DataFrame({"customer_id": [references[key] for key in ask.ids.tolist()]})
    for recipe in recipes.values():
        for name, model in learners.train(learn, recipe).models.items():
            # The usual network goes by the name of its estimator.
            called = TABULAR if name == learners.NETWORK and not recipe.chosen else name
            answer = model.predict(ask)
            table = table.with_columns(
                pl.Series(f"churn.{called}", answer["churn"].positive),
                pl.Series(f"value.{called}", answer["future_value"].mean),
            )
    truth = pl.read_parquet(truth_file).filter("in_churn_population")
    known = truth.select(
        "customer_id",
        pl.col("churned_90d").cast(pl.Float64).alias("churned"),
        pl.col("future_spend_90d").alias("spend"),
        pl.col("oracle_churn_probability").alias("oracle.churn"),
        pl.col("expected_spend_90d").alias("oracle.value"),
    )
    return table.join(known, on="customer_id", how="inner")


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
