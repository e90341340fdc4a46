"""Run one claimed training: history → rows → learners → figures → versions → champion. Called in the child process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import structlog
from django.conf import settings as django_settings
from django.utils.translation import gettext as _

from segmentation import (
    checkpoints,
    learners,
    learning_data,
    leases,
    monitoring,
    promotion_policy,
    registry,
    rivals,
    searches,
    targets,
    texts,
    training_frames,
    training_runs,
)
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.learning_data import Material
from segmentation.ml import artifacts, comparison, importance
from segmentation.ml import families as families_
from segmentation.ml.config import TrainingConfig, preset
from segmentation.ml.evaluation import Evaluation
from segmentation.ml.predictor import events_read
from segmentation.ml.schema import Estimator, LearningError
from segmentation.models import ModelVersion, Shop, Target, TrainingRun
from segmentation.training_progress import RunProgress, Watcher
from segmentation.training_runs import TrainingError

log = structlog.get_logger(__name__)
# Shares of a family's time: reading, training, evaluating; the rest is storing.
READ, SEARCHED, TRAIN, JUDGE = 0.2, 0.6, 0.85, 0.97
# Bootstrap rounds of a training's report; `evaluate` takes more.
ROUNDS = 300


@dataclass(frozen=True)
class Settings:
    """given: settings that the run names itself. search: trials of other settings to make first (searches.py)."""

    config: TrainingConfig
    rounds: int
    max_rows: int
    algorithms: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()
    search: int = 0


def run(row: TrainingRun, *, watch: Watcher | None = None) -> None:
    """Train the claimed run to its end, whatever that is; raises LeaseLost when it is somebody else's by now."""
    try:
        summary = _train(row, RunProgress(row, watch=watch))
        training_runs.finish(row, summary=summary)
    except leases.Cancelled:
        training_runs.cancel(row)
    except leases.LeaseLost:
        log.warning("training.lease_lost", run=row.pk)
        raise
    except (LearningError, TrainingError, targets.TargetError) as error:
        training_runs.fail(row, str(error))
    except Exception as error:
        training_runs.fail(row, f"{type(error).__name__}: {error}")
        raise


def families(wanted: Sequence[Target]) -> list[list[Target]]:
    """Targets that are learned together: behaviour by horizon; each other by itself."""
    by_horizon: dict[int, list[Target]] = {}
    alone: list[list[Target]] = []
    for target in wanted:
        # The time to the next order learns alone: an added target must not move the figures of those that serve.
        if not targets.is_behaviour(target) or target.kind == Target.Kind.NEXT_ORDER:
            alone.append([target])
        else:
            by_horizon.setdefault(target.horizon_days, []).append(target)
    return [*by_horizon.values(), *alone]


def settings_of(row: TrainingRun) -> Settings:
    """The preset with the run's overrides. Raises LearningError naming unknown settings."""
    given = {name: value for name, value in row.config.items() if name not in training_runs.RUN_SETTINGS}
    chosen = {**preset(row.preset).to_json(), "device": device(), **given, "seed": row.seed}
    overridden = TrainingConfig.from_json(chosen)
    return Settings(
        overridden,
        rounds=int(row.config.get("rounds", ROUNDS)),
        max_rows=int(row.config.get("max_rows", learning_data.MAX_ROWS)),
        algorithms=tuple(row.config.get("algorithms", ())),
        given=frozenset(given),
        search=int(row.config.get("search", 0)),
    )


def device() -> str:
    """What the worker was started with (DEVICE); "auto" is the GPU where torch sees one."""
    import torch

    wanted = str(django_settings.WORKER_DEVICE)
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _train(row: TrainingRun, progress: RunProgress) -> dict[str, Any]:
    shop = Shop.get()
    as_of = row.as_of or shop.scoring_as_of()
    wanted = list(row.targets.filter(is_active=True).select_related("attribute").order_by("slug"))
    training_runs.require_enough_data(wanted, as_of=as_of, shop=shop)
    texts.finish(lambda: progress.report(0.0, _("Reading what customers wrote")))
    settings = settings_of(row)
    TrainingRun.objects.filter(pk=row.pk).update(device=settings.config.device)
    groups = families(wanted)
    versions = []
    for number, family in enumerate(groups):
        part = progress.part(number / len(groups), (number + 1) / len(groups))
        versions.append(_train_family(row, family, settings, as_of=as_of, shop=shop, progress=part))
    return {"versions": versions}


def _train_family(
    row: TrainingRun,
    family: Sequence[Target],
    settings: Settings,
    *,
    as_of: date,
    shop: Shop,
    progress: learners.Progress,
) -> dict[str, Any]:
    if not targets.is_evaluated(family[0]):
        return _without_labels(row, family[0], settings, as_of=as_of, shop=shop, progress=progress)
    material = _material(row, family, settings, as_of=as_of, shop=shop, progress=progress)
    recipe = _recipe(family, material, settings)
    kept = checkpoints.of(row, material.snapshot["sha256"])
    start = READ
    if settings.search:
        start = SEARCHED
        watch = _between(progress, READ, SEARCHED)
        recipe = searches.best(row, family, material.train, recipe, trials=settings.search, progress=watch)
    trained = learners.train(material.train, recipe, progress=_between(progress, start, TRAIN), kept=kept)
    progress(TRAIN, _("Comparing with the baselines and the champion"), None)
    rival = rivals.find(family, material)
    judged = learners.judge(
        trained, material.test, recipe, rival=rival, rounds=settings.rounds, seed=settings.config.seed
    )
    progress(JUDGE, _("Storing the models"), None)
    targets.require_there(family)
    needed = _importance(trained, material, recipe)
    versions = _store(row, family, material, recipe, trained, judged, rival, needed)
    version = versions.pop(recipe.candidate)
    # Baselines are fitted without noise: where privacy was asked for, none of them takes over by itself.
    simpler = {} if settings.config.privacy_epsilon else versions
    comparisons = promotion_policy.promote_by_policy(version, family, simpler=simpler)
    return {
        "version": version.number,
        "targets": {
            comparison.target.slug: {"verdict": comparison.verdict, "reason": comparison.reason}
            for comparison in comparisons
        },
    }


def _reads_events(family: Sequence[Target], settings: Settings) -> int:
    """How many of each customer's newest events the algorithms and champions read; 0 where none of them reads any."""
    wanted = families_.needs_events(settings.algorithms, settings.config)
    own = settings.config.sequence_events if wanted else 0
    return max(own, rivals.events_read(family))


def _without_labels(
    row: TrainingRun,
    target: Target,
    settings: Settings,
    *,
    as_of: date,
    shop: Shop,
    progress: learners.Progress,
) -> dict[str, Any]:
    """Groups, anomalies and products have no class to be tested on (unsupervised.py, suggestions.py); effects have none
    for one customer (uplift.py)."""
    from segmentation import suggestions, unsupervised, uplift

    if target.kind == Target.Kind.UPLIFT:
        return uplift.train(
            row,
            target,
            settings.config,
            algorithms=settings.algorithms,
            as_of=as_of,
            shop=shop,
            progress=progress,
            rounds=settings.rounds,
        )
    if target.kind == Target.Kind.NEXT_PRODUCTS:
        seed = settings.config.seed
        return suggestions.train(
            row, target, seed=seed, rounds=settings.rounds, as_of=as_of, shop=shop, progress=progress
        )
    rounds = min(settings.rounds, unsupervised.ROUNDS)
    return unsupervised.train(
        row, target, settings.config, as_of=as_of, shop=shop, progress=progress, rounds=rounds
    )


def _material(
    row: TrainingRun,
    family: Sequence[Target],
    settings: Settings,
    *,
    as_of: date,
    shop: Shop,
    progress: learners.Progress,
) -> Material:
    progress(0.0, _("Reading history"), None)
    if targets.is_labelled(family[0]):
        return learning_data.category(
            family[0],
            as_of=as_of,
            shop=shop,
            max_rows=settings.max_rows,
            sequence_events=_reads_events(family, settings),
        )
    cutoffs = [date.fromisoformat(day) for day in row.cutoffs] or training_frames.default_cutoffs(
        as_of=as_of, shop=shop, horizon_days=family[0].horizon_days
    )

    def on_chunk(customers: int) -> None:
        progress(READ / 2, _("Reading history: %(customers)s customers") % {"customers": customers}, None)

    return learning_data.behaviour(
        family,
        cutoffs=cutoffs,
        shop=shop,
        max_rows=settings.max_rows,
        on_chunk=on_chunk,
        tier_cuts=_tier_cuts_in_use(family),
        sequence_events=_reads_events(family, settings),
    )


def _tier_cuts_in_use(family: Sequence[Target]) -> dict[str, Sequence[float]]:
    return {
        slug: version.config.get("tier_cuts", {}).get(slug, ())
        for slug, version in registry.champions(family).items()
    }


def _recipe(family: Sequence[Target], material: Material, settings: Settings) -> learners.Recipe:
    asked: dict[str, Any] = {"algorithms": settings.algorithms, "given": settings.given}
    if targets.is_labelled(family[0]):
        return learners.category(material.targets[0], settings.config, **asked)
    return learners.behaviour(material.targets, settings.config, **asked)


def _between(progress: learners.Progress, start: float, end: float) -> learners.Progress:
    return lambda fraction, note, epoch: progress(start + (end - start) * fraction, note, epoch)


def _store(
    row: TrainingRun,
    family: Sequence[Target],
    material: Material,
    recipe: learners.Recipe,
    trained: learners.Trained,
    judged: learners.Judged,
    rival: learners.Rival,
    needed: Mapping[str, Any],
) -> dict[str, ModelVersion]:
    """Register every learner and then the blend; the candidate is the challenger. Returns the versions by name."""
    members: dict[str, ModelVersion] = {}
    with tempfile.TemporaryDirectory() as working:
        for name, model in trained.models.items():
            place = Path(working) / name
            artifacts.save(cast(Estimator, model), place)
            members[name] = registry.register(
                registry.NewVersion(
                    algorithm=recipe.algorithm(name),
                    targets=family,
                    directory=place,
                    features=[column.name for column in trained.columns],
                    catalogue_version=CATALOGUE_VERSION,
                    evaluation=_evaluation(name, trained, judged, rival, recipe, needed),
                    data_snapshot=material.snapshot,
                    seed=recipe.config.seed,
                    config=_described(name, material, recipe, trained),
                    training_run=row,
                    context=material.context,
                    members=[members[member] for member in recipe.members] if name == learners.BLEND else (),
                    device=recipe.config.device,
                    is_challenger=name == recipe.candidate,
                    reference=monitoring.reference(material.train, judged.predictions[name], recipe.targets),
                )
            )
    return members


def _importance(
    trained: learners.Trained, material: Material, recipe: learners.Recipe
) -> Mapping[str, list[dict[str, Any]]]:
    """What the candidate leans on, from test rows."""
    model = trained.models[recipe.candidate]
    names = [column.name for column in trained.columns]
    return importance.permutation(
        model.predict,
        material.test,
        recipe.targets,
        names,
        with_events=events_read(model) > 0,
        seed=recipe.config.seed,
    )


def _evaluation(
    name: str,
    trained: learners.Trained,
    judged: learners.Judged,
    rival: learners.Rival,
    recipe: learners.Recipe,
    needed: Mapping[str, Any],
) -> dict[str, Any]:
    """Figures of a learner; for the candidate also against the champion, what promoting it changes, what it leans on."""
    found = figures(judged.evaluations[name], rival if name == recipe.candidate else None)
    for target in recipe.targets:
        found[target.name]["family"] = {
            **comparison.figures(target, judged.predictions[name][target.name], judged.frame),
            "fit_seconds": round(trained.seconds.get(name, 0.0), 3),
            "predict_seconds": round(judged.seconds.get(name, 0.0), 3),
        }
    if name != recipe.candidate:
        return found
    for target in recipe.targets:
        answer = judged.predictions[name][target.name]
        found[target.name]["importance"] = needed.get(target.name, [])
        found[target.name]["promotion_diff"] = rivals.changes(target.name, answer, rival, target.classes)
    return found


def figures(evaluation: Evaluation, rival: learners.Rival | None = None) -> dict[str, Any]:
    """An evaluation as stored with a version: slug → figures, curves, and who the champion of the time was."""
    found = {}
    for slug, target in evaluation.targets.items():
        found[slug] = {**asdict(target), "primary": learners.primary(target), "rounds": evaluation.rounds}
        if rival is not None and slug in rival.version_ids:
            found[slug]["champion_version"] = rival.version_ids[slug]
        if rival is not None and slug in rival.unknown:
            found[slug]["champion_unknown"] = rival.unknown[slug]
    return found


def _described(
    name: str, material: Material, recipe: learners.Recipe, trained: learners.Trained
) -> Mapping[str, Any]:
    return {
        **recipe.config_of(name).to_json(),
        "learner": name,
        "tier_cuts": {slug: list(cuts) for slug, cuts in material.tier_cuts.items()},
        "classes": {target.name: list(target.classes) for target in recipe.targets if target.classes},
        "calibration": [verdict.to_json() for verdict in trained.calibration.get(name, ())],
        "reads_events": events_read(trained.models[name]),
        "notes": list(trained.notes.get(name, ())),
        "privacy": dict(trained.privacy.get(name, {})),
        "spoils_calibration": recipe.config_of(name).spoils_calibration,
    }
