"""A training of an offer's effect: who was held out by chance teaches what the offer changes. Runs in the training's child.

A row is a customer who came into the campaign: features as of the start of a span of days that holds the day they came
in (never later), whether they were assigned to the offer, with which chance, and whether they ordered within the
target's horizon from that day on. The same customers always test, so a champion never answers for those it learned from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import polars as pl
from django.utils.translation import gettext as _

from segmentation import (
    artifact_store,
    labels,
    monitoring,
    promotion_policy,
    registry,
    serving,
    targets,
    training_frames,
)
from segmentation.features import context, store
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.features.compute import compute
from segmentation.features.days import midnight
from segmentation.ml import artifacts, families, schema, splits
from segmentation.ml.blend import Blend
from segmentation.ml.config import TrainingConfig
from segmentation.ml.effects import judging
from segmentation.ml.effects.rows import PROPENSITY, TREATED, Assigned
from segmentation.ml.predictor import Predictor
from segmentation.ml.schema import EpochReport, Estimator, Frame, LearningError, columns_of
from segmentation.models import ModelVersion, Shop, ShopContext, Target, TrainingRun
from segmentation.results import arms, tallies
from segmentation.training_runs import NotEnoughData

Progress = Callable[[float, str, EpochReport | None], None]
BLEND: Final = "blend"
CHURN_FIRST: Final = "churn_first"
# Of customers, and of those who order, in each arm.
CUSTOMERS_NEEDED, BUYERS_NEEDED = 200, 30
TEST_SHARE, TEST_SALT = 0.3, 105
# Features are worked out as of at most so many days: each has shop-wide numbers of its own.
MOST_CUTOFFS: Final = 24
MOST_ROWS: Final = 60_000
SAMPLE_SALT: Final = 106


@dataclass(frozen=True)
class Material:
    """No customer of `test` is in `train`. context: the newest that features were worked out with."""

    target: schema.Target
    train: Frame
    test: Frame
    context: ShopContext
    snapshot: Mapping[str, Any]


def train(
    row: TrainingRun,
    target: Target,
    config: TrainingConfig,
    *,
    algorithms: Sequence[str] = (),
    as_of: date,
    shop: Shop,
    progress: Progress,
    rounds: int,
) -> dict[str, Any]:
    """Fit every learner and their mean, judge them on the customers kept aside, register, promote what is proven."""
    import torch

    torch.set_num_threads(1)
    progress(0.0, _("Reading who was held out, and what they did"), None)
    material = read(target, as_of=as_of, shop=shop)
    wanted = families.effects_chosen(algorithms)
    models = fit(material, wanted, config, progress)
    progress(0.8, _("Comparing with a random order and with the likeliest to leave"), None)
    others, champion = _others(target, material)
    answers = {name: Predictor(model).predict(material.test) for name, model in models.items()}
    scores = {name: np.asarray(answer[target.slug].mean) for name, answer in answers.items()}
    judged = judging.judge(
        {**scores, **others}, material.test, material.target, rounds=rounds, seed=config.seed
    )
    progress(0.95, _("Storing the models"), None)
    targets.require_there([target])
    best = BLEND if BLEND in models else wanted[0]
    versions: dict[str, ModelVersion] = {}
    for name, model in models.items():
        told_of = judged[name]["metrics"]
        judged[name]["family"] = {metric: round(told_of[metric]["value"], 6) for metric in ("qini", "auuc")}
        reference = monitoring.reference(material.train, answers[name], [material.target])
        figures = judged[name] | ({"champion_version": champion.pk} if champion is not None else {})
        members = [versions[member] for member in wanted] if name == BLEND else []
        versions[name] = _store(
            row, target, material, config, name, model, figures, members, reference, is_best=name == best
        )
    told = _promote(target, versions[best])
    return {"version": versions[best].number, "targets": {target.slug: told}}


def read(target: Target, *, as_of: date, shop: Shop) -> Material:
    """Rows of everybody whose horizon is over. Raises NotEnoughData with every number that is short."""
    places = arms.places(campaign=target.campaign_id, offer=target.offer_id)
    people = _people(places, target, as_of=as_of, shop=shop)
    _require(people)
    frame, newest = _features(people, target, shop=shop)
    test_rows = splits.stable_share(frame.ids, salt=TEST_SALT) < TEST_SHARE
    train_, test = frame.take(~test_rows), frame.take(test_rows)
    learned = targets.to_schema(target)
    _require_both(train_, test, learned)
    splits.require_apart(train_, test)
    splits.require_once(train_)
    told = training_frames.snapshot(test)
    snapshot = training_frames.snapshot(train_) | {"test_rows": told["rows"], "test_sha256": told["sha256"]}
    return Material(learned, train_, test, newest, snapshot)


def fit(
    material: Material, wanted: Sequence[str], config: TrainingConfig, progress: Progress
) -> dict[str, Estimator]:
    """The learners by name, and their plain mean where there are several."""
    rest, held = splits.hold_out_customers(material.train, config.early_stop_share, salt=config.seed)
    columns = columns_of(rest.x)
    weights = [families.EFFECTS[name].weight for name in wanted]
    made: dict[str, Estimator] = {}
    for number, name in enumerate(wanted):
        start, end = (0.25 + 0.55 * sum(weights[:n]) / sum(weights) for n in (number, number + 1))

        def watch(epoch: EpochReport, start: float = start, end: float = end, name: str = name) -> None:
            share = epoch.epoch / max(epoch.epochs, 1)
            note = _("Training %(learner)s: step %(step)s") % {"learner": name, "step": epoch.epoch}
            progress(start + (end - start) * share, note, epoch)

        model = artifacts.create(name, targets=[material.target], columns=columns, config=config)
        made[name] = model.fit(rest, held, on_epoch_end=watch)
    if len(made) > 1:
        made[BLEND] = cast(Estimator, Blend(list(made.values())))
    return made


def _people(places: Mapping[int, arms.Places], target: Target, *, as_of: date, shop: Shop) -> pl.DataFrame:
    """arms.ARMS with who ordered, of the treated and of those whom the campaign's own draw held out."""
    parts = []
    for chunk in store.sampled_chunks(tallies.CHUNK, most=4 * MOST_ROWS, salt=SAMPLE_SALT):
        people = arms.read(chunk, places, shop=shop).filter(
            pl.col("arm").is_in([arms.TREATED, arms.HELD_OUT]),
            pl.col("since") < midnight(as_of, shop.zone),
            (pl.col("share") > 0) & (pl.col("share") < 1),
        )
        if not people.is_empty():
            parts.append(
                tallies.became(people, chunk, shop=shop, window_days=target.horizon_days, as_of=as_of).filter(
                    "is_over"
                )
            )
    if not parts:
        return pl.DataFrame(schema={**arms.ARMS, "orders": pl.Int64})
    found = pl.concat(parts)
    if found.height > MOST_ROWS:
        kept = splits.stable_share(found["customer_id"].to_numpy(), salt=SAMPLE_SALT + 1)
        found = found.filter(pl.Series(kept < MOST_ROWS / found.height))
    return found


def _require(people: pl.DataFrame) -> None:
    missing: dict[str, tuple[int, int]] = {}
    for arm, who in ((arms.TREATED, _("customers with the offer")), (arms.HELD_OUT, _("customers held out"))):
        rows = people.filter(pl.col("arm") == arm)
        buyers = rows.filter(pl.col("orders") > 0).height
        if rows.height < CUSTOMERS_NEEDED:
            missing[_("%(who)s whose days are over") % {"who": who}] = (rows.height, CUSTOMERS_NEEDED)
        elif buyers < BUYERS_NEEDED:
            missing[_("%(who)s who ordered") % {"who": who}] = (buyers, BUYERS_NEEDED)
    if missing:
        raise NotEnoughData(missing)


def _require_both(train_: Frame, test: Frame, target: schema.Target) -> None:
    """Enough of both arms on both sides once those who are not profiled, or who never ordered, are left out."""
    for frame, needed in ((train_, CUSTOMERS_NEEDED // 2), (test, CUSTOMERS_NEEDED // 5)):
        told = Assigned.of(frame, target) if len(frame) else None
        for value, who in ((1.0, _("customers with the offer")), (0.0, _("customers held out"))):
            found = 0 if told is None else int((told.treated == value).sum())
            if found < needed:
                raise NotEnoughData({_("%(who)s with orders before") % {"who": who}: (found, needed)})


def _features(people: pl.DataFrame, target: Target, *, shop: Shop) -> tuple[Frame, ShopContext]:
    """The rows with features, and the newest shop-wide numbers used."""
    people = people.with_columns(_spans(people, shop).alias("cutoff"))
    frames, newest = [], None
    for part in people.sort("cutoff", "customer_id").partition_by("cutoff", maintain_order=True):
        cutoff: date = part["cutoff"][0]
        newest = context.for_date(cutoff, shop, fresh=True)
        data = context.load(newest)
        ids = part["customer_id"].to_list()
        for start in range(0, len(ids), tallies.CHUNK):
            some = ids[start : start + tallies.CHUNK]
            events = store.read_events(some, as_of=cutoff, shop=shop)
            known = labels.population(events, cutoff=cutoff, zone=data.zone)
            customers = training_frames.profiled(store.read_customers(some, as_of=cutoff, shop=shop))
            customers = customers.filter(pl.col("customer_id").is_in(known.implode()))
            features = compute(events, cutoff, data, customers=customers)
            frames.append(_rows(features, part, cutoff, target))
    assert newest is not None
    return Frame.concat(frames), newest


def _rows(features: pl.DataFrame, part: pl.DataFrame, cutoff: date, target: Target) -> Frame:
    told = features.select("customer_id").join(part, on="customer_id", how="left", maintain_order="left")
    return Frame(
        ids=features["customer_id"].to_numpy(),
        cutoffs=np.full(features.height, np.datetime64(cutoff, "D")),
        x=features.drop("customer_id"),
        labels={
            target.slug: (told["orders"] > 0).cast(pl.Float64).to_numpy(),
            TREATED: (told["arm"] == arms.TREATED).cast(pl.Float64).to_numpy(),
            PROPENSITY: told["share"].to_numpy(),
        },
    )


def _spans(people: pl.DataFrame, shop: Shop) -> pl.Series:
    """(n,) the first day of the span of days that each customer came in: at most MOST_CUTOFFS spans."""
    days = people["since"].dt.convert_time_zone(shop.zone.key).dt.date()
    first, last = days.min(), days.max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    step = (last - first).days // MOST_CUTOFFS + 1
    begins = {
        first + timedelta(days=n): first + timedelta(days=n // step * step)
        for n in range((last - first).days + 1)
    }
    return days.replace_strict(begins, return_dtype=pl.Date)


def _others(target: Target, material: Material) -> tuple[dict[str, np.ndarray], ModelVersion | None]:
    """Orders to compare with: the likeliest to leave first, as today's churn champion says, and the champion's."""
    found: dict[str, np.ndarray] = {}
    churn = Target.objects.filter(kind=Target.Kind.CHURN, is_active=True).order_by("slug").first()
    leaver = registry.champion(churn) if churn is not None else None
    if churn is not None and leaver is not None and (answer := _answer(leaver, material.test)) is not None:
        found[CHURN_FIRST] = np.asarray(answer[churn.slug].positive)
    champion = registry.champion(target)
    if champion is None or (before := _answer(champion, material.test)) is None:
        return found, None
    return found | {promotion_policy.CHAMPION: np.asarray(before[target.slug].mean)}, champion


def _answer(version: ModelVersion, frame: Frame) -> schema.Prediction | None:
    """None where the version cannot answer these rows any more."""
    if version.catalogue_version != CATALOGUE_VERSION or version.config.get("reads_events", 0):
        return None
    try:
        return serving.predictor(version).predict(frame)
    except (LearningError, artifact_store.ArtifactDamaged):
        return None


def _store(
    row: TrainingRun,
    target: Target,
    material: Material,
    config: TrainingConfig,
    name: str,
    model: Estimator,
    figures: Mapping[str, Any],
    members: Sequence[ModelVersion],
    reference: Mapping[str, Any],
    *,
    is_best: bool,
) -> ModelVersion:
    with tempfile.TemporaryDirectory() as working:
        place = Path(working) / name
        artifacts.save(model, place)
        return registry.register(
            registry.NewVersion(
                algorithm=name,
                targets=[target],
                directory=place,
                features=[column.name for column in model.columns],
                catalogue_version=CATALOGUE_VERSION,
                evaluation={target.slug: figures},
                data_snapshot=material.snapshot,
                seed=config.seed,
                config={**config.to_json(), "learner": name},
                training_run=row,
                context=material.context,
                members=members,
                is_challenger=is_best,
                reference=reference,
            )
        )


def _promote(target: Target, version: ModelVersion) -> dict[str, Any]:
    """As any version is promoted; but the first serves only when its order clearly beats a random one: money follows it."""
    comparison = promotion_policy.compare(target, version)
    figure = version.evaluation[target.slug]["metrics"]["qini"]
    if comparison.verdict == "first" and figure["low"] <= 0:
        reason = _(
            "It is not clearly better than a random order (Qini %(value)s, %(low)s to %(high)s), so it does not serve by "
            "itself. More customers held out, or more time, will tell; a person may promote it."
        ) % {name: f"{figure[name]:+.4f}" for name in ("value", "low", "high")}
        return {"verdict": "unknown", "reason": reason}
    if comparison.promotes and not (
        comparison.verdict == "better" and target.promotes == Target.Promotes.BY_HAND
    ):
        registry.promote(target, version, reason=comparison.reason)
    return {"verdict": comparison.verdict, "reason": comparison.reason}
