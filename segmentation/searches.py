"""A budgeted search of settings on the tuning days of a training: rows that a later attempt goes on from.

Learned from is what lies before the last training day, asked are the customers of that day; where there is one day
alone, a part of its customers. The day that tests, and the customers held out for stopping, have no part in it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

import orjson
import structlog
from django.utils.translation import gettext as _

from segmentation import learners
from segmentation.learners import Recipe
from segmentation.ml import artifacts, judging, search, splits
from segmentation.ml.schema import Frame, LearningError
from segmentation.models import SearchTrial, Target, TrainingRun

log = structlog.get_logger(__name__)
TUNING_SHARE, TUNING_SALT, STOP_SALT = 0.25, 211, 212


def best(
    row: TrainingRun,
    family: Sequence[Target],
    frame: Frame,
    recipe: Recipe,
    *,
    trials: int,
    progress: learners.Progress,
) -> Recipe:
    """The recipe with each tunable learner's best settings after `trials` of it, where they beat its usual ones."""
    tunable = [name for name in recipe.learners if recipe.algorithm(name) in search.SPACES]
    if recipe.members:
        tunable = [name for name in tunable if name in recipe.members]
    elif recipe.candidate in tunable:
        tunable = [recipe.candidate]
    learn, ask = tuning_rows(frame, recipe)
    tuned = {}
    for place, name in enumerate(tunable):
        study = Study(row, family, name, recipe, learn, ask)
        for number in range(trials + 1):
            share = (place + number / (trials + 1)) / len(tunable)
            progress(share, _("Searching settings: %(learner)s, trial %(number)s of %(trials)s")
                     % {"learner": name, "number": number, "trials": trials}, None)  # fmt: skip
            study.try_(number)
        tuned[name] = study.winner()
    return replace(recipe, tuned=tuned)


def tuning_rows(frame: Frame, recipe: Recipe) -> tuple[Frame, Frame]:
    """(learned from, asked): earlier days and the last one, or two parts of the customers of a single day."""
    rest, _held = splits.hold_out_customers(frame, recipe.config.early_stop_share, salt=recipe.config.seed)
    days = learners.cutoffs_of(rest)
    horizon = max(target.horizon_days or 0 for target in recipe.targets)
    known = splits.complete_by(days[-1], days[:-1], horizon_days=horizon)
    if known:
        return splits.rows_at(rest, known), splits.rows_at(rest, [days[-1]])
    return splits.hold_out_customers(rest, TUNING_SHARE, salt=TUNING_SALT)


class Study:
    """The trials of one learner. Trial 0 is its usual settings: whatever is found must beat them."""

    def __init__(
        self,
        row: TrainingRun,
        family: Sequence[Target],
        learner: str,
        recipe: Recipe,
        learn: Frame,
        ask: Frame,
    ) -> None:
        self.row, self.learner, self.recipe = row, learner, recipe
        self.family = ",".join(target.slug for target in family)[:200]
        self.space = search.SPACES[recipe.algorithm(learner)]
        self.config = recipe.config_of(learner)
        self.train, self.valid = splits.hold_out_customers(
            learn, recipe.config.early_stop_share, salt=STOP_SALT
        )
        self.ask = ask
        about = [self.config.to_json(), len(learn), int(learn.ids.sum()), len(ask), int(ask.ids.sum())]
        self.fingerprint = hashlib.sha256(orjson.dumps(about, option=orjson.OPT_SORT_KEYS)).hexdigest()
        self.rows().exclude(fingerprint=self.fingerprint).delete()

    def rows(self):  # type: ignore[no-untyped-def]
        return SearchTrial.objects.filter(run=self.row, family=self.family, learner=self.learner)

    def try_(self, number: int) -> None:
        """Make the trial unless an earlier attempt has made it."""
        done = list(self.rows().order_by("number"))
        if any(trial.number == number for trial in done):
            return
        tried = [(t.settings, t.loss) for t in done if t.loss is not None and t.settings]
        settings = (
            {} if number == 0 else search.propose(self.space, tried, number=number, seed=self.config.seed)
        )
        started, loss, error = time.perf_counter(), None, ""
        try:
            loss = self._loss(settings)
        except LearningError as problem:
            error = str(problem)
            log.info("search.trial_failed", run=self.row.pk, learner=self.learner, number=number)
        SearchTrial.objects.create(
            run=self.row,
            family=self.family,
            learner=self.learner,
            number=number,
            fingerprint=self.fingerprint,
            settings=settings,
            loss=loss,
            error=error,
            seconds=round(time.perf_counter() - started, 3),
        )

    def winner(self) -> dict[str, object]:
        """The settings of the least loss; none where the usual ones have it."""
        found = self.rows().exclude(loss=None).order_by("loss", "number").first()
        if found is None:
            return {}
        return {n: tuple(v) if isinstance(v, list) else v for n, v in found.settings.items()}

    def _loss(self, settings: dict[str, object]) -> float:
        targets = self.recipe.targets
        estimator = artifacts.create(
            self.learner,
            targets=targets,
            columns=learners.columns_of(self.train.x),
            config=replace(self.config, **settings),  # type: ignore[arg-type]
        )
        estimator.fit(self.train, self.valid)
        return judging.total(targets, estimator.predict(self.ask), self.ask)
