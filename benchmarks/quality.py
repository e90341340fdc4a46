"""`make quality`: how good the algorithms are on real data, each figure with its interval and the command that gave it.

    python -m benchmarks.quality [--quick] [--only retail shoppers simulated speed] [--beside NAME …] [--origins DATE …]

Online Retail II at rolling origins, the default blend and other algorithms trained on earlier days alone; Online Shoppers
in five folds, brought in through `import_customers` like any shop's table; five simulated shops beside their oracle
(simulated.py); what training and answering cost (speed.py). The real data are read from TIERWISE_DATA into databases of
their own. Writes benchmarks/results/quality.json, rows of {dataset, target, model, metric, value, interval, n, command},
the predictions behind them, and docs/quality.md. Differences are paired: the same draws of whole customers over all
origins at once for both. A part that was not asked for keeps the rows it had.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks import quality_tables as tables
from benchmarks import simulated, speed

RESULTS = Path(__file__).parent / "results"
CUTOFFS = ("2010-03-14", "2010-06-12", "2010-09-10", "2010-12-10", "2011-03-12", "2011-06-12")
ORIGINS = ("2011-03-12", "2011-06-12", "2011-09-10")
PARTS = ("retail", "shoppers", "simulated", "speed")
# Trained beside the default blend, whose members are BG/NBD, LightGBM and TabM.
BESIDE = ("rfm", "decision_tree", "random_forest", "mlp", "gru", "customer_net")
SHOPPERS = ("logistic", "linear_svm", "random_forest", "mlp")
# The baselines are fitted with both runs, and the blend of the others is nobody's default.
AGAIN = ("btyd", "logistic", "blend")
# The default blend's network is called by its architecture, so that a plain one may stand beside it.
SERVED_NETWORK = {"mlp": "tabm"}
# What the mean of a purchase model, boosted trees and a network reaches: the bar of the served blend.
REFERENCE = ("btyd", "lightgbm", "mlp")
AGAINST = ("btyd", "lightgbm", "reference")
ROUNDS, FOLDS = 1000, 5
QUICK = {"rounds": 200, "beside": ("mlp",)}


def main() -> None:
    options = _options()
    data = os.environ.get("TIERWISE_DATA")
    if not data:
        sys.exit("Name the folder of the public data sets in TIERWISE_DATA.")
    place = Path(os.environ.setdefault("TIERWISE_VAR", str(Path(tempfile.gettempdir()) / "tierwise-quality")))
    place.mkdir(parents=True, exist_ok=True)
    os.environ["DATABASE_URL"] = f"sqlite:///{place / 'quality.sqlite3'}"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    started = time.perf_counter()
    command = ("python -m benchmarks.quality " + " ".join(sys.argv[1:])).strip()
    RESULTS.mkdir(exist_ok=True)
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "retail": lambda: retail(Path(data), options, command),
        "shoppers": lambda: shoppers(Path(data), options, command),
        "simulated": lambda: simulated.report(place, RESULTS, rounds=options.rounds, command=command),
        "speed": lambda: speed.report(command=command),
    }
    for name in PARTS:
        if name in options.only:
            began, used = time.perf_counter(), time.process_time()
            print(f"\n== {name}")
            tables.keep(RESULTS, name, parts[name]())
            print(
                f"{name}: {time.perf_counter() - began:.0f} s, {time.process_time() - used:.0f} s of processor"
            )
    rows = tables.write(RESULTS)
    print(f"\n{len(rows)} figures in {RESULTS / 'quality.json'}, {time.perf_counter() - started:.0f} s")


def retail(data: Path, options: argparse.Namespace, command: str) -> list[dict[str, Any]]:
    import polars as pl
    from django.core.management import call_command

    from segmentation import backtests, targets
    from segmentation.ml.config import preset
    from segmentation.models import Event

    if not Event.objects.exists():
        call_command(
            "import_events", str(data / "online_retail_ii/online_retail_ii.parquet"), preset="online-retail"
        )
    targets.install()
    wanted = list(targets.active(["churn", "value_tier", "future_value"]))
    asked = {
        "origins": [date.fromisoformat(day) for day in options.origins],
        "cutoffs": [date.fromisoformat(day) for day in CUTOFFS],
        "config": preset("default", seed=1),
        "rounds": 0,
        "max_rows": 1_000_000,
        "watch": _watch,
    }
    served = backtests.run(wanted, **asked)
    beside = backtests.run(wanted, **asked, algorithms=options.beside) if options.beside else None
    every = [served.predictions.with_columns(pl.col("model").replace(SERVED_NETWORK))]
    if beside is not None:
        every.append(beside.predictions.filter(~pl.col("model").is_in(AGAIN)))
    predictions = pl.concat(every, how="diagonal")
    predictions.write_parquet(RESULTS / "online_retail_ii.parquet")
    rows = judged(predictions, wanted, options.rounds, dataset="Online Retail II", command=command)
    rows += _seconds(served.report, "Online Retail II", command, names=SERVED_NETWORK)
    if beside is not None:
        rows += _seconds(beside.report, "Online Retail II", command, left_out=AGAIN)
    return rows


def shoppers(data: Path, options: argparse.Namespace, command: str) -> list[dict[str, Any]]:
    import numpy as np
    import polars as pl
    from sklearn.model_selection import StratifiedKFold

    from segmentation import learners, targets, training_frames
    from segmentation.ml.config import preset
    from segmentation.ml.evaluation import prediction_rows
    from segmentation.models import Shop

    target = _shoppers_target(data)
    shop = Shop.get()
    targets.learn_classes(target)
    frame = training_frames.category_frame(target, as_of=shop.scoring_as_of(), shop=shop)
    learned = targets.to_schema(target)
    names = learned.classes
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    parts = []
    for number, (learn, ask) in enumerate(folds.split(frame.ids, frame.labels[target.slug])):
        algorithms = [name for name in options.beside if name in SHOPPERS]
        recipes = [learners.category(learned, preset("default", seed=1))]
        if algorithms:
            recipes.append(learners.category(learned, preset("default", seed=1), algorithms=algorithms))
        for recipe in recipes:
            trained = learners.train(frame.take(learn), recipe)
            answers = learners.judge(trained, frame.take(ask), recipe, rounds=0, seed=1)
            again = {learners.BLEND, "logistic"} if recipe.chosen else set()
            parts += [
                prediction_rows(answer, answers.frame, [learned]).with_columns(
                    model=pl.lit("tabm" if name == "mlp" and not recipe.chosen else name),
                    fold=pl.lit(number),
                )
                for name, answer in answers.predictions.items()
                if name not in again
            ]
        _watch((number + 1) / FOLDS, f"fold {number + 1}")
    whole = pl.concat(parts, how="diagonal")
    whole.write_parquet(RESULTS / "online_shoppers.parquet")
    rows = []
    positive = f"{target.slug}.p_{names[1]}"
    for name in whole["model"].unique(maintain_order=True):
        own = whole.filter(model=name)
        truth, score = own[f"{target.slug}.label"].to_numpy(), own[positive].to_numpy()
        for metric in ("auc", "average_precision", "log_loss", "calibration_error"):
            value, low, high = _interval(metric, own, truth, score, options.rounds)
            rows.append(
                _row("Online Shoppers", target.slug, name, metric, value, (low, high), len(own), command)
            )
            print(f"  {name:<14}{metric:<18}{value:.4f} [{low:.4f}, {high:.4f}]")
    assert np.isfinite([row["value"] for row in rows]).all()
    return rows


def judged(
    predictions: Any, wanted: list[Any], rounds: int, *, dataset: str, command: str
) -> list[dict[str, Any]]:
    """Every metric as the mean over origins, and paired differences from AGAINST, in draws of whole customers."""
    import numpy as np
    import polars as pl

    from segmentation import targets
    from segmentation.ml import metrics
    from segmentation.ml.evaluation import measures

    predictions = _with_reference(predictions, wanted)
    days = predictions["cutoff"].unique().sort().to_list()
    one = predictions.filter(model=predictions["model"][0])
    people = np.unique(one["customer_id"].to_numpy())
    drawn = metrics.bootstrap_weights(people, rounds=rounds, seed=1)
    every = np.concatenate([np.ones((1, len(people))), drawn])
    rows: list[dict[str, Any]] = []
    for target in wanted:
        learned = targets.to_schema(target)
        found: dict[str, dict[str, Any]] = {}
        for name in predictions["model"].unique(maintain_order=True):
            parts: dict[str, list[Any]] = {}
            for day in days:
                own = predictions.filter(pl.col("model") == name, pl.col("cutoff") == day)
                weights = every[:, np.searchsorted(people, own["customer_id"].to_numpy())]
                labels = own[f"{target.slug}.label"].to_numpy()
                for metric, measure in measures(learned, _answer(own, learned), labels).items():
                    parts.setdefault(metric, []).append(metrics.in_chunks(measure, weights))
            found[name] = {metric: np.mean(values, axis=0) for metric, values in parts.items()}
        rows += _told(found, target.slug, dataset, command, len(one))
    return rows


def _told(
    found: dict[str, dict[str, Any]], slug: str, dataset: str, command: str, n: int
) -> list[dict[str, Any]]:
    import numpy as np

    rows = []
    print(f"\n{slug}")
    for name, figures in found.items():
        for metric, values in figures.items():
            low, high = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (values[0], values[0])
            rows.append(_row(dataset, slug, name, metric, values[0], (low, high), n, command))
            for other in AGAINST:
                if other in found and other != name and metric in found[other]:
                    gap = values - found[other][metric]
                    low, high = np.quantile(gap[1:], [0.025, 0.975]) if len(gap) > 1 else (gap[0], gap[0])
                    row = _row(
                        dataset, slug, name, f"{metric} minus {other}", gap[0], (low, high), n, command
                    )
                    rows.append(row)
        shown = ("auc", "log_loss", "calibration_error", "qwk", "macro_f1", "gini", "spearman", "mae", "bias")
        print(f"  {name:<14}" + " · ".join(f"{m} {figures[m][0]:.4f}" for m in shown if m in figures))
    return rows


def _with_reference(predictions: Any, wanted: list[Any]) -> Any:
    """The predictions with the plain mean of REFERENCE as one more model, where all of it was trained."""
    import polars as pl

    if not set(REFERENCE) <= set(predictions["model"].unique()):
        return predictions
    parts = predictions.filter(pl.col("model").is_in(REFERENCE))
    keys = ["cutoff", "customer", "customer_id"]
    answers = [
        c for c in parts.columns if parts[c].dtype.is_float() and not c.endswith((".label", ".decided"))
    ]
    labels = [c for c in parts.columns if c.endswith(".label")]
    mean = parts.group_by(keys, maintain_order=True).agg(
        *(pl.col(name).mean() for name in answers), *(pl.col(name).first() for name in labels)
    )
    return pl.concat([predictions, mean.with_columns(model=pl.lit("reference"))], how="diagonal")


def _answer(own: Any, target: Any) -> Any:
    import numpy as np

    from segmentation.ml.schema import TargetPrediction

    def column(name: str) -> Any:
        full = f"{target.name}.{name}"
        found = own[full] if full in own.columns else None
        return None if found is None or found.null_count() else found.to_numpy()

    if target.kind == "value":
        return TargetPrediction(**{name: column(name) for name in ("mean", "median", "lower", "upper")})
    names = target.classes or ("0", "1")
    chances = np.column_stack([column(f"p_{name}") for name in names])
    decided = column("decided")
    return TargetPrediction(
        probabilities=chances, decided=chances.argmax(axis=1) if decided is None else decided.astype(np.int64)
    )


def _shoppers_target(data: Path) -> Any:
    """The file as a shop would bring it: a column that names the visitor, a mapping, and `import_customers`."""
    import polars as pl
    from django.core.management import call_command

    from segmentation import targets
    from segmentation.models import Target

    if not Target.objects.filter(slug="bought").exists():
        source = pl.read_csv(data / "online_shoppers_intention/online_shoppers_intention.csv.gz")
        table = source.with_columns(
            pl.format("V{}", pl.int_range(pl.len()).cast(pl.String).str.zfill(5)).alias("visitor"),
            pl.col("Revenue").replace_strict({0: "no", 1: "yes"}, return_dtype=pl.String),
            pl.col("Weekend").cast(pl.Int8),
            *(
                pl.col(n).cast(pl.String).name.keep()
                for n in ("OperatingSystems", "Browser", "Region", "TrafficType")
            ),
        )
        choices = {"Month", "VisitorType", "OperatingSystems", "Browser", "Region", "TrafficType"}
        about = {
            name.lower(): {"column": name, "kind": "choice" if name in choices else "number", "feature": True}
            for name in source.columns
            if name != "Revenue"
        }
        about["bought"] = {"column": "Revenue", "kind": "choice", "target": True, "rule_field": False}
        with tempfile.TemporaryDirectory() as working:
            table.write_csv(Path(working) / "visitors.csv")
            mapping = {"columns": {"customer": "visitor"}, "attributes": about}
            (Path(working) / "map.json").write_text(json.dumps(mapping), encoding="utf-8")
            call_command(
                "import_customers",
                f"{working}/visitors.csv",
                "--mapping",
                f"{working}/map.json",
                "--source",
                "shoppers",
            )
        targets.make("bought", kind="category", horizon_days=90, attribute="bought")
    return Target.objects.select_related("attribute").get(slug="bought")


def _interval(metric: str, own: Any, truth: Any, score: Any, rounds: int) -> tuple[float, float, float]:
    """The mean over folds, drawn over customers."""
    import numpy as np

    from segmentation.ml import metrics

    given = np.stack([1 - score, score], axis=1) if metric == "log_loss" else score
    found = []
    for fold in sorted(set(own["fold"])):
        rows = np.flatnonzero(own["fold"].to_numpy() == fold)
        ids = own["customer_id"].to_numpy()[rows]
        every = np.concatenate(
            [np.ones((1, len(ids))), metrics.bootstrap_weights(ids, rounds=rounds, seed=1)]
        )
        of = getattr(metrics, metric)
        found.append(metrics.in_chunks(lambda w, rows=rows, of=of: of(truth[rows], given[rows], w), every))
    values = np.mean(found, axis=0)
    low, high = np.quantile(values[1:], [0.025, 0.975]) if rounds else (values[0], values[0])
    return float(values[0]), float(low), float(high)


def _seconds(
    report: dict[str, Any],
    dataset: str,
    command: str,
    *,
    names: Mapping[str, str] = MappingProxyType({}),
    left_out: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """A row a day and learner; `names`: what a learner of the report is called here."""
    return [
        _row(
            dataset,
            "all",
            names.get(name, name),
            f"seconds to train at {day}",
            took,
            (took, took),
            1,
            command,
        )
        for day, found in report["origins"].items()
        for name, took in found["seconds"].items()
        if name not in left_out
    ]


def _row(
    dataset: str, target: str, model: str, metric: str, value: Any, interval: Any, n: int, command: str
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "target": target,
        "model": model,
        "metric": metric,
        "value": round(float(value), 6),
        "interval": [round(float(end), 6) for end in interval],
        "n": n,
        "command": command,
    }


def _watch(fraction: float, note: str) -> None:
    print(f"\r{fraction:5.0%}  {note[:70]:<70}", end="", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--beside", nargs="*", default=[*BESIDE, *(n for n in SHOPPERS if n not in BESIDE)])
    parser.add_argument("--origins", nargs="+", default=ORIGINS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="fewer algorithms and draws")
    options = parser.parse_args()
    if options.quick:
        options.rounds = QUICK["rounds"]
        options.beside = list(QUICK["beside"])
    return options


if __name__ == "__main__":
    main()
