"""What training and answering cost: 20,000 rows of 57 columns with events, a thread a learner (part of `make quality`).

The rows are made up (three targets of one horizon follow from some of the columns), so that nothing but the learners is
measured. Seconds of processor stand beside seconds of the clock: on a busy machine only the first can be compared.
Answering is compared with the same module called on tensors that are ready, in batches of the same size.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

ROWS, COLUMNS, CATEGORIES, EVENTS = 20_000, 55, 2, 24
NETWORKS = ("mlp", "tabm", "customer_net")
REPEATS = 5
Row = dict[str, Any]


def report(*, command: str, algorithms: tuple[str, ...] = ()) -> list[Row]:
    """Rows of seconds by algorithm, and of how near answering comes to the bare module."""
    import torch

    from segmentation import learners
    from segmentation.ml import families
    from segmentation.ml.config import preset
    from segmentation.ml.schema import STANDARD_TARGETS

    torch.set_num_threads(1)
    frame = made_up(ROWS)
    config = preset("default", seed=1)
    rows = []
    began, used = time.perf_counter(), time.process_time()
    trained = learners.train(frame, learners.behaviour(STANDARD_TARGETS, config))
    rows += _costs("preset default", time.perf_counter() - began, time.process_time() - used, command)
    fitted = {"tabm": trained.models[learners.NETWORK]}
    for name in algorithms or tuple(families.FAMILIES):
        began, used = time.perf_counter(), time.process_time()
        fitted[name] = _fit(name, frame, config)
        rows += _costs(name, time.perf_counter() - began, time.process_time() - used, command)
    for name in NETWORKS:
        if name in fitted:
            whole, alone = _beside_bare(fitted[name], frame)
            rows.append(_row(name, "answering beside the bare module", whole, command))
            rows.append(_row(name, "its network in answering beside the bare module", alone, command))
    return rows


def made_up(rows: int) -> Any:
    """A frame of one day: numbers, two categories, events, and labels that follow from a few of the columns."""
    import numpy as np
    import polars as pl

    from segmentation.ml.schema import Frame
    from segmentation.ml.sequences import AGE, Sequences

    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, COLUMNS))
    x[rng.random(x.shape) < 0.02] = np.nan
    columns = {f"x{i}": x[:, i] for i in range(COLUMNS)}
    # What the purchase model and the rule of fifths read.
    for name in ("btyd_expected_orders_90d", "btyd_expected_spend", "btyd_value_90d"):
        columns[name] = rng.gamma(1.0, 1.0, rows)
    for name in ("recency_days", "orders_365d", "spend_365d"):
        columns[name] = rng.gamma(2.0, 30.0, rows)
    kept = dict(list(columns.items())[6:])
    frame = pl.DataFrame(kept).with_columns(
        country=pl.Series(rng.choice(["GB", "FR", "DE", "ES"], rows)),
        channel=pl.Series(rng.choice(["web", "shop"], rows)),
    )
    score = np.nan_to_num(x[:, 6:14]).sum(axis=1) / 3 + rng.normal(size=rows)
    spend = np.where(score > 0, np.exp(3 + score / 2), 0.0)
    tier = np.where(spend > 0, 1 + np.digitize(spend, np.quantile(spend[spend > 0], [1 / 3, 2 / 3])), 0)
    events = Sequences.empty(rows, EVENTS)
    events.kinds[:] = rng.choice([1, 4, 10, 11], (rows, EVENTS))
    events.lengths[:] = EVENTS
    events.numeric[:] = rng.normal(size=events.numeric.shape)
    events.numeric[:, :, AGE] = np.sort(rng.gamma(2.0, 1.0, (rows, EVENTS)), axis=1)[:, ::-1]
    labels = {"churn": (spend == 0).astype(float), "value_tier": tier.astype(np.int64), "future_value": spend}
    cutoffs = np.full(rows, np.datetime64("2025-01-01"))
    return Frame(np.arange(rows) * 7919, cutoffs, frame, labels, events=events)


def _fit(name: str, frame: Any, config: Any) -> Any:
    from segmentation.ml import artifacts, families, splits
    from segmentation.ml.schema import STANDARD_TARGETS, columns_of

    rest, held = splits.hold_out_customers(frame, config.early_stop_share, salt=config.seed)
    made = artifacts.create(
        families.FAMILIES[name].estimator,
        targets=STANDARD_TARGETS,
        columns=columns_of(rest.x),
        config=families.config_of(name, config),
    )
    return made.fit(rest, held)


def _beside_bare(served: Any, frame: Any) -> tuple[float, float]:
    """Rows a second beside the module alone on ready tensors: of `predict`, columns prepared and answers put together,
    and of the part of it that the network has."""
    import numpy as np
    import torch

    from segmentation.ml.batching import BATCH, in_fixed_batches

    estimator = getattr(served, "estimator", served)
    estimator = getattr(estimator, "estimator", estimator)
    part = frame.take(np.arange(len(frame) // BATCH * BATCH))
    encoded, events = estimator.preprocessor_.transform(part.x), estimator.events_of(part)
    arrays = (encoded.numeric, encoded.categorical, *(() if events is None else events.arrays))
    tensors = [torch.from_numpy(array) for array in arrays]

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, len(part), BATCH):
                estimator.network_(*(tensor[start : start + BATCH] for tensor in tensors))

    def network() -> None:
        with torch.inference_mode():
            in_fixed_batches(estimator.through_network, *arrays)

    bare()
    estimator.predict(part)
    # One after the other, so that all meet the same neighbours on a busy machine.
    rounds = [
        (_seconds(bare), _seconds(lambda: estimator.predict(part)), _seconds(network))
        for _again in range(REPEATS)
    ]
    return (
        statistics.median(plain / whole for plain, whole, _alone in rounds),
        statistics.median(plain / alone for plain, _whole, alone in rounds),
    )


def _seconds(work: Any) -> float:
    used = time.process_time()
    work()
    return time.process_time() - used


def _costs(model: str, clock: float, processor: float, command: str) -> list[Row]:
    print(f"  {model:<16}{clock:7.1f} s, {processor:7.1f} s of processor")
    return [
        _row(model, "seconds to train", clock, command),
        _row(model, "processor seconds to train", processor, command),
    ]


def _row(model: str, metric: str, value: float, command: str) -> Row:
    return {
        "dataset": f"Speed, {ROWS} rows of {COLUMNS + CATEGORIES} columns",
        "target": "all",
        "model": model,
        "metric": metric,
        "value": round(value, 4),
        "interval": [round(value, 4)] * 2,
        "n": ROWS,
        "command": command,
    }
