"""Products bought next: trained and tested by time, kept for each customer, shown on the customer's page.

What is not suggested: products that hardly anybody buys twice and that the customer has (a sofa), and products that no
longer sell (nobody bought them in the last weeks, although they used to be bought).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from django.db import transaction
from django.utils.translation import gettext as _

from segmentation import artifact_store, bulk, promotion_policy, purchases, registry, targets
from segmentation.features import context
from segmentation.features.catalogue import CATALOGUE_VERSION
from segmentation.ml import evaluation, metrics, recommending, storage
from segmentation.ml.schema import EpochReport
from segmentation.models import ModelVersion, ProductSuggestion, Shop, Target, TrainingRun
from segmentation.purchases import Lines
from segmentation.training_runs import NotEnoughData

Progress = Callable[[float, str, EpochReport | None], None]
ALGORITHM = "next_products"
TESTERS_NEEDED, PRODUCTS_NEEDED = 50, 20
CHUNK = 2_000
# Bought again by fewer than this share of its buyers, of at least so many: bought once only.
ONCE_SHARE, ONCE_BUYERS = 0.02, 30
# Not bought by anybody for this long, although at least so many customers did before: no longer sold.
GONE_DAYS, GONE_BUYERS = 60, 10


def train(
    row: TrainingRun, target: Target, *, seed: int, rounds: int, as_of: date, shop: Shop, progress: Progress
) -> dict[str, Any]:
    """Test every method on the last horizon, refit the best on everything, register, promote, suggest."""
    progress(0.0, _("Reading who bought what"), None)
    lines = purchases.read(as_of=as_of, shop=shop)
    found = _tested(lines, target, as_of=as_of, seed=seed, rounds=rounds, progress=progress)
    progress(0.8, _("Learning from everything"), None)
    version = _store(row, target, lines, found, seed=seed, as_of=as_of, shop=shop)
    progress(0.9, _("Suggesting products to everybody"), None)
    told = _promote(target, version)
    refresh(target, as_of=as_of, shop=shop, lines=lines)
    return {"version": version.number, "targets": {target.slug: told}}


def _promote(target: Target, version: ModelVersion) -> dict[str, Any]:
    """The newest of the best method knows the newest products and purchases, so it serves, unless a person decides."""
    champion = registry.champion(target)
    if champion is not None and target.promotes == Target.Promotes.BY_HAND:
        return promotion_policy.left_to_a_person()
    reason = _("Best of %(count)s methods on the last %(days)s days.") % {
        "count": len(recommending.METHODS),
        "days": target.horizon_days,
    }
    registry.promote(target, version, reason=reason)
    return {"verdict": "first" if champion is None else "newest", "reason": reason}


def refresh_all(*, as_of: date, shop: Shop) -> int:
    """Suggest anew for every active target that has a champion; returns for how many customers."""
    wanted = Target.objects.filter(kind=Target.Kind.NEXT_PRODUCTS, is_active=True)
    return sum(refresh(target, as_of=as_of, shop=shop) for target in wanted)


def refresh(target: Target, *, as_of: date, shop: Shop, lines: Lines | None = None) -> int:
    """Write the list of every customer who bought in the last two years; drop those of everybody else."""
    version = registry.champion(target)
    if version is None:
        return 0
    lines = purchases.read(as_of=as_of, shop=shop) if lines is None else lines
    folder = artifact_store.fetch(version)
    described = storage.read_json(folder / "model.json")
    state = storage.read_tensors(folder / "model.safetensors")
    products = state.pop("products")
    customers = np.unique(lines.customer)
    rules = _rules(lines, products, as_of=as_of)
    last = 0
    for start in range(0, len(customers), CHUNK):
        some = customers[start : start + CHUNK]
        # Whoever was merged or refused since has no list any more.
        stored = ProductSuggestion.objects.filter(
            target=target, customer__gt=last, customer__lte=int(some[-1])
        )
        gone = set(stored.values_list("customer_id", flat=True)) - set(some.tolist())
        bulk.delete(
            ProductSuggestion, ("customer_id", "target_id"), [(key, target.pk) for key in sorted(gone)]
        )
        last = int(some[-1])
        _write(target, version, described["served"], state, lines, some, products, rules, as_of=as_of)
    beyond = ProductSuggestion.objects.filter(target=target, customer__gt=last)
    bulk.delete(
        ProductSuggestion,
        ("customer_id", "target_id"),
        list(beyond.values_list("customer_id", "target_id")),
    )
    return len(customers)


def _tested(
    lines: Lines, target: Target, *, as_of: date, seed: int, rounds: int, progress: Progress
) -> dict[str, Any]:
    """Figures of every method: learned from what was bought before the day, asked what was bought after it."""
    day = as_of - timedelta(days=target.horizon_days)
    before, after = (lines.take(rows) for rows in (lines.day < day.toordinal(), lines.day >= day.toordinal()))
    products = purchases.products_of(before)
    later = _baskets(after.take(np.isin(after.product, products)))
    testers = np.array(sorted(set(later) & set(before.customer.tolist())), dtype=np.int64)
    missing = {}
    if len(products) < PRODUCTS_NEEDED:
        missing[_("products bought")] = (len(products), PRODUCTS_NEEDED)
    if len(testers) < TESTERS_NEEDED:
        missing[
            _("customers who bought before and in the last %(days)s days") % {"days": target.horizon_days}
        ] = (
            len(testers),
            TESTERS_NEEDED,
        )
    if missing:
        raise NotEnoughData(missing)
    bought = [{int(i) for i in np.searchsorted(products, sorted(later[int(key)]))} for key in testers]
    everybody = np.unique(before.customer)
    matrix = purchases.purchases(before, customers=everybody, products=products)
    asked = purchases.counts(before, customers=testers, products=products)
    everything = np.ones(len(products), dtype=bool)
    hits: dict[str, dict[str, np.ndarray]] = {}
    for number, name in enumerate(recommending.METHODS):
        progress(
            0.2 + 0.6 * number / len(recommending.METHODS), _("Testing: %(method)s") % {"method": name}, None
        )
        state = recommending.fit(name, matrix, seed=seed)
        named = np.concatenate(
            [
                recommending.top(
                    recommending.scores(name, state, asked[start : start + CHUNK]), allowed=everything
                )
                for start in range(0, len(testers), CHUNK)
            ]
        )
        hits[name] = {
            "recall_10": recommending.recall(named, bought),
            "ndcg_10": recommending.ndcg(named, bought),
        }
    return _figures(hits, testers, target, day, rounds=rounds, seed=seed)


def _figures(
    hits: Mapping[str, Mapping[str, np.ndarray]],
    testers: np.ndarray,
    target: Target,
    day: date,
    *,
    rounds: int,
    seed: int,
) -> dict[str, Any]:
    def drawn(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        wanted: dict[str, evaluation.Measure] = {
            name: partial(metrics.average, found) for name, found in values.items()
        }
        kept = evaluation.with_intervals(wanted, testers, rounds=rounds, seed=seed)
        return {name: asdict(metric) for name, metric in kept.items()}

    popular = hits[recommending.POPULARITY]
    served = max(hits, key=lambda name: float(hits[name]["ndcg_10"].mean()))
    return {
        "kind": "next_products",
        "rows": len(testers),
        "horizon_days": target.horizon_days,
        "test_day": day.isoformat(),
        "served": served,
        "methods": {name: drawn(values) for name, values in hits.items()},
        "differences": {
            name: drawn({metric: values[metric] - popular[metric] for metric in values})
            for name, values in hits.items()
            if name != recommending.POPULARITY
        },
    }


def _baskets(lines: Lines) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for customer, product in zip(lines.customer.tolist(), lines.product.tolist(), strict=True):
        found.setdefault(customer, set()).add(product)
    return found


def _store(
    row: TrainingRun,
    target: Target,
    lines: Lines,
    found: Mapping[str, Any],
    *,
    seed: int,
    as_of: date,
    shop: Shop,
) -> ModelVersion:
    targets.require_there([target])
    products = purchases.products_of(lines)
    customers = np.unique(lines.customer)
    matrix = purchases.purchases(lines, customers=customers, products=products)
    state = recommending.fit(found["served"], matrix, seed=seed)
    with tempfile.TemporaryDirectory() as working:
        place = Path(working)
        storage.write_json(place / "model.json", {"served": found["served"], "products": len(products)})
        storage.write_tensors(place / "model.safetensors", {**state, "products": products})
        return registry.register(
            registry.NewVersion(
                algorithm=ALGORITHM,
                targets=[target],
                directory=place,
                features=[],
                catalogue_version=CATALOGUE_VERSION,
                evaluation={target.slug: dict(found)},
                data_snapshot={
                    "rows": len(lines.customer),
                    "customers": len(customers),
                    "cutoffs": {as_of.isoformat(): len(customers)},
                    "test_cutoff": found["test_day"],
                    "test_rows": found["rows"],
                },
                seed=seed,
                config={"served": found["served"]},
                training_run=row,
                context=context.for_date(as_of, shop),
            )
        )


def _rules(lines: Lines, products: np.ndarray, *, as_of: date) -> tuple[np.ndarray, np.ndarray]:
    """(still sold, bought once only): (products,) booleans."""
    rows = lines.take(np.isin(lines.product, products))
    place = np.searchsorted(products, rows.product)
    last = np.zeros(len(products), dtype=np.int64)
    np.maximum.at(last, place, rows.day)
    orders = np.unique(np.stack([place, rows.customer, rows.event], axis=1), axis=0)
    pairs, times = np.unique(orders[:, :2], axis=0, return_counts=True)
    buyers = np.bincount(pairs[:, 0], minlength=len(products))
    again = np.bincount(pairs[times > 1, 0], minlength=len(products))
    gone = (last < as_of.toordinal() - GONE_DAYS) & (buyers >= GONE_BUYERS)
    once = (buyers >= ONCE_BUYERS) & (again < ONCE_SHARE * buyers)
    return ~gone, once


def _write(
    target: Target,
    version: ModelVersion,
    served: str,
    state: Mapping[str, np.ndarray],
    lines: Lines,
    customers: np.ndarray,
    products: np.ndarray,
    rules: tuple[np.ndarray, np.ndarray],
    *,
    as_of: date,
) -> None:
    sold, once = rules
    matrix = purchases.counts(lines, customers=customers, products=products)
    values = recommending.scores(served, state, matrix)
    owned = np.asarray(matrix.todense()) > 0
    values[owned & once[None, :]] = -np.inf
    best = recommending.top(values, allowed=sold)
    rows = []
    for position, key in enumerate(customers.tolist()):
        listed = [
            [int(products[column]), round(float(values[position, column]), 6)]
            for column in best[position]
            if np.isfinite(values[position, column])
        ]
        rows.append(
            ProductSuggestion(customer_id=key, target=target, version=version, as_of=as_of, products=listed)
        )
    with transaction.atomic():
        ProductSuggestion.objects.bulk_create(
            rows,
            batch_size=500,
            update_conflicts=True,
            unique_fields=["customer", "target"],
            update_fields=["version", "as_of", "products"],
        )
