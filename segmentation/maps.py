"""Customers as points of a plane: near each other where they behave alike. Drawn by a worker from a sample.

Numbers are brought to a normal shape by their ranks, so that one huge order does not fill the map; what is missing lies
in the middle. Points carry no customer: nobody can be found by where they lie.

`CustomerMap.result`: {"points": [[x, y, tier, risk band, [segment, …]], …], "segments": {slug: name}, "customers",
"features", "explained": [share of all variation along x, along y] (PCA alone), "axes": [[feature, …], […]] (PCA alone: what
moves most along each), "as_of"}.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from django.db import IntegrityError, transaction
from django.db.models import Max, Min

from segmentation import bulk, leases
from segmentation.dashboard import words
from segmentation.jobs import Job, enqueue
from segmentation.models import Customer, CustomerFeatures, CustomerMap, Membership, Segment, Shop

SAMPLE: Final = {CustomerMap.Method.PCA: 3000, CustomerMap.Method.TSNE: 1200}
FEWEST: Final = 20
AXIS_FEATURES: Final = 3
SEED: Final = 1
NO_SCORE: Final = "no_score"


class MapError(ValueError):
    """Nothing to draw; the message says why."""


def ask(method: str, *, by: Any = None) -> CustomerMap:
    """A new map for a worker, or the one under way. Raises ValueError for an unknown method."""
    wanted = CustomerMap.Method(method)
    try:
        with transaction.atomic():
            row = CustomerMap.objects.create(
                method=wanted, requested_by=by if getattr(by, "is_authenticated", False) else None
            )
    except IntegrityError:
        row = CustomerMap.objects.filter(method=wanted, state__in=["queued", "running"]).latest("pk")
    enqueue(Job.DRAW_MAP, map_id=row.pk)
    return row


def work(map_id: int) -> None:
    """Draw one map, if it waits; older ones of its method go."""
    from django.utils.translation import gettext as _

    for row in leases.claim(CustomerMap.objects.filter(pk=map_id)):
        with leases.kept([row]):
            try:
                result = draw(row.method)
            except MapError:
                leases.fail(row, _("Too few customers are classified to draw a map. Classify first."))
                continue
            leases.finish(row, result=result)
            CustomerMap.objects.filter(method=row.method, pk__lt=row.pk).delete()


def draw(method: str) -> dict[str, Any]:
    from segmentation.features import store

    features = store.read_features(_ids(SAMPLE[CustomerMap.Method(method)])).drop("as_of", "input_version")
    if features.height < FEWEST:
        raise MapError
    names, values = _normal(features.drop("customer_id", "country", "channel", strict=False))
    points, more = _pca(values, names) if method == CustomerMap.Method.PCA else (_tsne(values), {})
    return {
        "points": [
            [*place, *told]
            for place, told in zip(
                np.round(points, 3).tolist(), _told(features["customer_id"].to_list()), strict=True
            )
        ],
        "segments": dict(Segment.objects.filter(is_active=True).values_list("slug", "name")),
        "customers": features.height,
        "features": len(names),
        "as_of": Shop.get().scoring_as_of().isoformat(),
        **more,
    }


def _ids(most: int) -> list[int]:
    """Ids at even distances over all that have features."""
    span = CustomerFeatures.objects.aggregate(first=Min("customer"), last=Max("customer"))
    first, last = span["first"] or 0, span["last"] or 0
    return np.unique(np.linspace(first, last, most).astype(np.int64)).tolist()


def _normal(features: pl.DataFrame) -> tuple[list[str], np.ndarray]:
    """((p) names, (n, p) normal scores by rank, 0 where missing); what never differs is left out."""
    from scipy.special import ndtri

    names, columns = [], []
    for column in features.get_columns():
        known = column.cast(pl.Float64).fill_nan(None)
        if known.n_unique() < 2 or known.null_count() == len(known):
            continue
        ranks = known.rank("average").to_numpy().astype(np.float64)
        scores = ndtri((ranks - 0.5) / max(known.len() - known.null_count(), 1))
        names.append(column.name)
        columns.append(np.nan_to_num(scores, nan=0.0, posinf=3.0, neginf=-3.0))
    if not columns:
        raise MapError
    return names, np.column_stack(columns)


def _pca(values: np.ndarray, names: list[str]) -> tuple[np.ndarray, dict[str, Any]]:
    from sklearn.decomposition import PCA

    found = PCA(n_components=min(2, values.shape[1]), random_state=SEED).fit(values)
    axes = [
        [names[index] for index in np.argsort(-np.abs(axis))[:AXIS_FEATURES].tolist()]
        for axis in found.components_
    ]
    points = found.transform(values)
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
    return points, {
        "explained": [round(float(share), 3) for share in found.explained_variance_ratio_],
        "axes": axes,
    }


def _tsne(values: np.ndarray) -> np.ndarray:
    """Neighbours are looked for in the 20 main directions, as the authors of the method advise."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    main = PCA(n_components=min(20, *values.shape), random_state=SEED).fit_transform(values)
    perplexity = min(30.0, (len(main) - 1) / 3)
    return np.asarray(
        TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=SEED, n_jobs=1).fit_transform(
            main
        )
    )


def _told(ids: list[int]) -> list[tuple[str, str, list[str]]]:
    """Tier, band of risk and segments of each."""
    people = {
        key: (tier, NO_SCORE if chance is None else words.risk_band(chance).slug)
        for key, tier, chance in bulk.values_in(
            Customer.objects.all(), ids, "pk", "tier", "churn_probability", by="pk"
        )
    }
    inside: dict[int, list[str]] = {}
    current = Membership.objects.filter(segment__is_active=True)
    for key, slug in bulk.values_in(current, ids, "customer_id", "segment__slug"):
        inside.setdefault(key, []).append(slug)
    return [(*people.get(key, ("", NO_SCORE)), sorted(inside.get(key, ()))) for key in ids]
