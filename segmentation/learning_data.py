"""What one training learns from and is tested on: rows, labels, and the numbers that tell where they came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
from django.utils.translation import gettext as _

from segmentation import labels, leak_checks, target_settings, targets, training_frames
from segmentation.features import context
from segmentation.ml import schema, splits
from segmentation.ml.schema import Frame
from segmentation.models import Shop, ShopContext, Target
from segmentation.training_runs import NotEnoughData, TrainingError

# More rows than this change no figure by more than its interval, and cost time in proportion.
MAX_ROWS = 20_000
CATEGORY_TEST_SHARE = 0.2
# Salts of the stable draws: who is kept when there are too many, who tests a category.
KEEP_SALT, TEST_SALT = 101, 102
OnChunk = Callable[[int], None]


@dataclass(frozen=True)
class Material:
    """train and test share columns and labels; no row of `test` is in `train`. tier_cuts: slug → borders."""

    targets: tuple[schema.Target, ...]
    train: Frame
    test: Frame
    context: ShopContext
    snapshot: Mapping[str, Any]
    tier_cuts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def behaviour(
    family: Sequence[Target],
    *,
    cutoffs: Sequence[date],
    shop: Shop,
    max_rows: int = MAX_ROWS,
    on_chunk: OnChunk | None = None,
    tier_cuts: Mapping[str, Sequence[float]] | None = None,
    sequence_events: int = 0,
) -> Material:
    """Rows of targets that share a horizon; the last cutoff is the test origin. Raises TrainingError.

    tier_cuts: borders in use by target slug, kept while they fit the training rows: a tier goes on meaning what staff
    know, and the champion can be compared. Else, and without them, the thirds of the training rows. sequence_events: how
    many of each customer's newest events go beside the features (features/sequences.py).
    """
    horizon = family[0].horizon_days
    days = origin(cutoffs, horizon)
    whole = training_frames.training_frame(
        [*days.train, days.test],
        shop=shop,
        targets=family,
        on_chunk=on_chunk,
        sequence_events=sequence_events,
    )
    train, test = splits.rows_at(whole, days.train), splits.rows_at(whole, [days.test])
    if not len(train) or not len(test):
        raise NotEnoughData({_("training rows"): (len(train), 1), _("test rows"): (len(test), 1)})
    train, test = _at_most(train, max_rows), _at_most(test, max_rows)
    cuts = {}
    for target in family:
        if target.kind == Target.Kind.VALUE_TIER:
            # Cut on training rows alone: the test must not shape what it is asked.
            spend = np.asarray(train.labels[training_frames.SPEND])
            cuts[target.slug] = _cuts(target, spend, tuple((tier_cuts or {}).get(target.slug, ())))
            train, test = (
                training_frames.with_tiers(part, cuts[target.slug], slug=target.slug)
                for part in (train, test)
            )
    asked = tuple(targets.to_schema(target) for target in family)
    return Material(
        targets=asked,
        train=train,
        test=test,
        context=context.for_date(days.test, shop),
        snapshot=_snapshot(train, test, tier_cuts=cuts) | _checked(family, asked, train, test),
        tier_cuts=cuts,
    )


def category(
    target: Target, *, as_of: date, shop: Shop, max_rows: int = MAX_ROWS, sequence_events: int = 0
) -> Material:
    """Labelled customers with their features as of now; a fifth of them is held out for the test."""
    whole = labelled(target, as_of=as_of, shop=shop, max_rows=max_rows, sequence_events=sequence_events)
    train, test = splits.hold_out_customers(whole, CATEGORY_TEST_SHARE, salt=TEST_SALT)
    return split_material(target, train, test, as_of=as_of, shop=shop)


def labelled(
    target: Target, *, as_of: date, shop: Shop, max_rows: int = MAX_ROWS, sequence_events: int = 0
) -> Frame:
    """Every customer whom staff have labelled, at most about `max_rows`. Raises NotEnoughData."""
    if target.kind == Target.Kind.CATEGORY and len(names := targets.learn_classes(target)) < 2:
        raise NotEnoughData({_("classes of “%(target)s”") % {"target": target.name}: (len(names), 2)})
    whole = training_frames.category_frame(target, as_of=as_of, shop=shop, sequence_events=sequence_events)
    if not len(whole):
        raise NotEnoughData({_("customers labelled for “%(target)s”") % {"target": target.name}: (0, 1)})
    return _at_most(whole, max_rows)


def split_material(target: Target, train: Frame, test: Frame, *, as_of: date, shop: Shop) -> Material:
    """Labelled rows as they were divided by the caller."""
    asked = (targets.to_schema(target),)
    return Material(
        targets=asked,
        train=train,
        test=test,
        context=context.for_date(as_of, shop),
        snapshot=_snapshot(train, test) | _checked([target], asked, train, test),
    )


def of_fold(material: Material, fold: int, folds: int, *, family: Sequence[Target], seed: int) -> Material:
    """Behaviour tested on customers of one fold, learned from the others at the earlier days.

    The borders of tiers stay those of all training rows: they say what is asked, and answer nothing.
    """
    train = material.train.take(splits.customer_fold(material.train.ids, folds, seed=seed) != fold)
    test = material.test.take(splits.customer_fold(material.test.ids, folds, seed=seed) == fold)
    if not len(train) or not len(test):
        raise NotEnoughData({_("rows of fold %(fold)s") % {"fold": fold + 1}: (0, 1)})
    checked = _snapshot(train, test, tier_cuts=material.tier_cuts) | _checked(
        family, material.targets, train, test
    )
    return replace(material, train=train, test=test, snapshot=checked)


def _checked(
    family: Sequence[Target], asked: Sequence[schema.Target], train: Frame, test: Frame
) -> dict[str, Any]:
    """Refuses what would make figures too good, and keeps in words what only might (leak_checks.py)."""
    splits.require_apart(train, test)
    splits.require_once(train)
    splits.require_once(test)
    return {"warnings": leak_checks.check(family, asked, train, test)}


def _cuts(target: Target, spend: np.ndarray, in_use: tuple[float, ...]) -> tuple[float, ...]:
    cut = target_settings.tiers(target)
    if cut.by == target_settings.QUANTILES and labels.still_fit(in_use, spend, cut.count):
        return in_use
    return training_frames.tier_cuts(target, spend)


def origin(cutoffs: Sequence[date], horizon_days: int) -> splits.Origin:
    """The last cutoff tests, those whose labels are complete by then teach. Raises TrainingError."""
    if len(cutoffs) < 2:
        raise TrainingError(
            _(
                "There is not enough history: one day to learn from and a later one to test on are needed, "
                "each with %(days)s days after it."
            )
            % {"days": horizon_days}
        )
    try:
        return splits.origin(sorted(cutoffs)[:-1], max(cutoffs), horizon_days=horizon_days)
    except schema.LearningError as error:
        raise TrainingError(str(error)) from error


def _at_most(frame: Frame, rows: int) -> Frame:
    """About `rows` rows: whole customers, always the same ones."""
    if len(frame) <= rows:
        return frame
    return frame.take(splits.stable_share(frame.ids, salt=KEEP_SALT) < rows / len(frame))


def _snapshot(train: Frame, test: Frame, **more: Any) -> dict[str, Any]:
    tested = training_frames.snapshot(test)
    return {
        **training_frames.snapshot(train),
        "test_rows": tested["rows"],
        "test_cutoff": max(tested["cutoffs"]),
        "test_sha256": tested["sha256"],
        "test_rows_repeated": splits.shared_rows(train, test),
        **{name: {slug: list(cuts) for slug, cuts in value.items()} for name, value in more.items()},
    }
