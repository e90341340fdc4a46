"""The decision frame of customers from what is stored: the last features and scores, nothing computed anew.

It holds classified customers: survivors of merges with features of the present catalogue. Light enough for a
web process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

import polars as pl
from django.db import connection
from django.db.models import QuerySet

from segmentation import columns, consents, in_force, overrides, packed, rule_columns, targets
from segmentation.columns import Field
from segmentation.features.selection import Selection, within
from segmentation.frames import OVERRIDE
from segmentation.models import CustomerFeatures, Score, Target
from segmentation.rule_columns import NOTHING, Wanted
from segmentation.stages import stage

SCORE = (
    Field("customer_id", "int8"),
    Field("target_id", "int8"),
    Field("value", "float8", nullable=True),
    Field("median", "float8", nullable=True),
    Field("label", "text"),
    Field("probabilities", "bytea", nullable=True),
)
_RESULTS: Final = ("value", "median", "label", "probabilities")
# Of a customer's row, and what it is called in the frame.
_STATE: Final = {
    "input_version": "input_version",
    "country": "customer.country",
    "channel": "customer.channel",
    "is_profiled": "customer.is_profiled",
}
# What features are stored under.
_STAMPS: Final = frozenset({"customer_id", "as_of", "input_version"})


def classified() -> QuerySet[CustomerFeatures]:
    """The customers that frames can be read for; `customer_id` is their id."""
    return _with_features().filter(customer__merged_into__isnull=True)


def _with_features() -> QuerySet[CustomerFeatures]:
    from segmentation.features.catalogue import CATALOGUE_VERSION

    return CustomerFeatures.objects.filter(catalogue_version=CATALOGUE_VERSION)


def chunks(*, size: int = 2000) -> Iterator[list[int]]:
    """Ids of classified customers, in order, `size` at a time.

    Whoever was merged is among them, and left out by `read`: asking here would read every customer's row.
    """
    ordered = _with_features().order_by("customer_id")
    last = 0
    while ids := list(ordered.filter(customer_id__gt=last).values_list("customer_id", flat=True)[:size]):
        yield ids
        last = ids[-1]


def read(ids: Sequence[int], *, as_of: date | None = None, wanted: Wanted = NOTHING) -> pl.DataFrame:
    """Rows of the classified customers among `ids`, by id, with the columns of segmentation/frames.py.

    Attributes are those of `as_of` (default: the end of today), consent is that of now. wanted: what the rules that
    will be asked need besides; events are read only for them.
    """
    with in_force.steady():
        return _read(list(ids), as_of, wanted)


def _read(ids: list[int], as_of: date | None, wanted: Wanted) -> pl.DataFrame:
    from segmentation.features import store

    shop = in_force.shop()
    day = as_of or shop.scoring_as_of()
    features = store.read_features(ids)
    people, selection = store.read_people(features["customer_id"].to_list(), as_of=day, shop=shop)
    keys = people["customer_id"]
    if not keys.equals(features["customer_id"]):
        # Some were merged since.
        features = people.select("customer_id").join(
            features, on="customer_id", how="left", maintain_order="left"
        )
    frame = pl.DataFrame(
        [
            keys,
            *(people[name].alias(called) for name, called in _STATE.items()),
            *(features[name].alias(_feature_name(name)) for name in features.columns if name not in _STAMPS),
            *(people[name] for name in people.columns if name.startswith("attribute.")),
            features["tenure_days"].alias("customer.tenure_days"),
            *_scores(keys),
            *consents.answers_of(keys, selection),
        ]
    )
    return rule_columns.add(
        _as_staff_set(frame, selection),
        wanted,
        events=lambda: store.read_events(keys.to_list(), as_of=day, shop=shop),
        as_of=day,
        shop=shop,
    )


def _as_staff_set(frame: pl.DataFrame, selection: Selection) -> pl.DataFrame:
    """Stored scores are the models' own; rules see what staff set beside them."""
    ids = frame["customer_id"].to_list()
    known = overrides.of(ids, selection.absorbed) if "said" in in_force.exceptions() else {}
    for target in targets.active() if known else ():
        said = {customer: label for (customer, of), label in known.items() if of == target.pk}
        column = f"score.{target.slug}.label"
        if said and column in frame.columns:
            is_set = frame["customer_id"].is_in(list(said)) & frame["customer.is_profiled"]
            new = frame["customer_id"].replace_strict(said, default=None, return_dtype=pl.String)
            own = pl.when(is_set).then(pl.col(column).fill_null("")).otherwise(None)
            frame = frame.with_columns(
                own.alias(OVERRIDE + target.slug),
                pl.when(is_set).then(new).otherwise(pl.col(column)).alias(column),
            )
    return frame


def _feature_name(name: str) -> str:
    return name if name.startswith(("feature.", "attribute.")) else f"feature.{name}"


@stage("read")
def _scores(keys: pl.Series) -> list[pl.Series]:
    """Columns of every active target, in the order of `keys`, which rise."""
    scored = in_force.kept("scored targets", lambda: (tuple(targets.scored()), True))
    stored = _stored_scores(keys.to_list(), [target.pk for target in scored])
    owner, of = stored["customer_id"].to_numpy(), stored["target_id"].to_numpy()
    found: list[pl.Series] = []
    for target in scored:
        rows = columns.rows_of(owner, of == target.pk, keys.to_numpy())
        found += _target_columns(target, {name: stored[name].gather(rows) for name in _RESULTS})
    return found


def _stored_scores(keys: list[int], target_ids: list[int]) -> pl.DataFrame:
    """SCORE of these customers for these targets, by customer."""
    table = connection.ops.quote_name(Score._meta.db_table)
    asked, target_values = within("target_id", target_ids)
    parts = []
    for part in Selection(keys, {}, frozenset()).parts():
        ours, values = within("customer_id", part)
        source = f"FROM {table} WHERE {ours} AND {asked} ORDER BY customer_id"
        parts.append(columns.read(SCORE, source, [*values, *target_values]))
    return columns.together(SCORE, parts)


def _target_columns(target: Target, results: Mapping[str, pl.Series]) -> list[pl.Series]:
    name = f"score.{target.slug}"
    made = [results["value"].alias(name)]
    if target.kind == Target.Kind.FUTURE_VALUE:
        made.append(results["median"].alias(f"{name}.median"))
    if targets.is_class_target(target):
        label = results["label"]
        made.append(label.set(label == "", None).alias(f"{name}.label"))
        classes = targets.classes(target)
        # None where there are no chances, or the classes have changed since.
        chances = packed.matrix(results["probabilities"], len(classes))
        made += [
            pl.Series(f"{name}.{cls}", chances[:, position], nan_to_null=True)
            for position, cls in enumerate(classes)
        ]
    return made
