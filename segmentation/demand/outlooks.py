"""One outlook: ask for it, work it out, what it says of each category and product.

`DemandOutlook.result`: {"as_of", "weeks_known", "too_short": weeks needed}, {"as_of", "weeks_known", "no_products": true}
where no order says what was bought, or {"as_of", "weeks_known", "window",
"customers", "sampled", "groups": [[name, now, then], …], "categories": part, "products": part} where a part is {"rows":
[{"number", "name", "category", "last", "expected", "low", "high", "advice"}, …], "check": {"days", "error", "plain_error",
"closer", "inside", "better"}}. Counts are whole pieces of the whole shop.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from django.db import IntegrityError, transaction

from segmentation import leases
from segmentation.demand import forecast, groups, reading
from segmentation.demand.groups import Tallies
from segmentation.demand.reading import Bought
from segmentation.jobs import Job, enqueue
from segmentation.models import AuditEntry, Category, DemandOutlook, Product, Shop

HORIZONS: Final = (1, 2, 4, 8, 12)
MOST_PRODUCTS: Final = 200
MOST_CATEGORIES: Final = 60
STOCK_UP: Final = "stock_up"
CLEAR: Final = "clear"
SEED: Final = 1
RETRY_AFTER: Final = timedelta(seconds=30)
# Names of what a report says about moves: the groups of one recency together.
RECENCY: Final = ("weeks_4", "weeks_13", "weeks_26", "weeks_52", "lapsed")


def ask(weeks: int, *, by: Any = None, **audit: Any) -> DemandOutlook:
    """A new outlook for a worker, or the one under way for as many weeks. Raises ValueError for other horizons."""
    if weeks not in HORIZONS:
        raise ValueError(weeks)
    try:
        with transaction.atomic():
            row = DemandOutlook.objects.create(
                weeks=weeks, requested_by=by if getattr(by, "is_authenticated", False) else None
            )
            AuditEntry.record("outlook.requested", row, actor=by, weeks=weeks, **audit)
    except IntegrityError:
        row = DemandOutlook.objects.filter(weeks=weeks, state__in=["queued", "running"]).latest("pk")
    enqueue(Job.DEMAND_OUTLOOK, outlook_id=row.pk)
    return row


def work(outlook_id: int) -> None:
    """Work one out, if it waits; older ones for as many weeks go."""
    for row in leases.claim(DemandOutlook.objects.filter(pk=outlook_id)):
        with leases.worked(row, after=RETRY_AFTER):
            leases.finish(row, result=work_out(row.weeks))
            DemandOutlook.objects.filter(weeks=row.weeks, pk__lt=row.pk).delete()


def work_out(horizon: int) -> dict[str, Any]:
    shop = Shop.get()
    as_of = shop.scoring_as_of()
    known = reading.weeks_known(as_of, shop)
    head = {"as_of": as_of.isoformat(), "weeks_known": known}
    needed = forecast.weeks_needed(horizon)
    if known < needed:
        return head | {"too_short": needed}
    bought = reading.read(as_of=as_of, weeks=known, shop=shop)
    if not len(bought.event):
        return head | {"no_products": True}
    by_week = _groups(bought)
    products = _products(bought)
    titles = {
        row.pk: row for row in Product.objects.filter(pk__in=products.tolist()).select_related("category")
    }
    shown = [key for key in products.tolist() if key in titles]
    found = {
        "categories": _part(bought, by_week, *_by_category(bought), horizon=horizon, as_of=as_of),
        "products": _part(
            bought, by_week, np.array(shown, dtype=np.int64), bought.product,
            [_told(titles[key]) for key in shown], horizon=horizon, as_of=as_of,
        ),
    }  # fmt: skip
    return head | {
        "window": forecast.window_of(known),
        "customers": round(by_week.shape[0] / bought.share),
        "sampled": bought.share < 1,
        "groups": _moved(bought, by_week, horizon),
        **found,
    }


def _groups(bought: Bought) -> np.ndarray:
    orders = np.unique(np.stack([bought.customer, bought.week, bought.event], axis=1), axis=0)
    found = groups.groups_by_week(
        orders[:, 0], orders[:, 1], customers=len(bought.not_profiled), weeks=bought.weeks
    )
    found[bought.not_profiled] = groups.OTHER
    return found


def _products(bought: Bought) -> np.ndarray:
    """Ids of the products with the most pieces in the weeks that are learned from, the most first."""
    recent = bought.week >= bought.weeks - forecast.window_of(bought.weeks)
    ids, place = np.unique(bought.product[recent], return_inverse=True)
    pieces = np.bincount(place, weights=bought.pieces[recent], minlength=len(ids))
    return ids[np.argsort(-pieces, kind="stable")[:MOST_PRODUCTS]]


def _told(product: Product) -> dict[str, str]:
    category = product.category.name if product.category is not None else ""
    return {"number": product.external_id, "name": product.name, "category": category}


def _by_category(bought: Bought) -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    """(ids, (l,) the category of each line or -1, what is said of each)."""
    of_product = dict(Product.objects.exclude(category=None).values_list("pk", "category"))
    products, place = np.unique(bought.product, return_inverse=True)
    category = np.array([of_product.get(key, -1) for key in products.tolist()], dtype=np.int64)
    of_line = category[place] if len(products) else np.zeros(0, dtype=np.int64)
    ids, pieces = np.unique(of_line[of_line >= 0], return_counts=True)
    ids = ids[np.argsort(-pieces, kind="stable")[:MOST_CATEGORIES]]
    names = dict(Category.objects.filter(pk__in=ids.tolist()).values_list("pk", "name"))
    return ids, of_line, [{"number": "", "name": names[key], "category": ""} for key in ids.tolist()]


def _part(
    bought: Bought,
    by_week: np.ndarray,
    ids: np.ndarray,
    of_line: np.ndarray,
    told: Sequence[dict[str, str]],
    *,
    horizon: int,
    as_of: date,
) -> dict[str, Any]:
    """The outlook of these ids. of_line: (l,) the id that each line counts for."""
    if not len(ids):
        return {"rows": [], "check": None}
    tallies = _tallies(bought, by_week, ids, of_line)
    found = forecast.forecast(tallies, origin=tallies.weeks, horizon=horizon, seed=SEED)
    tested = forecast.check(tallies, horizon=horizon, seed=SEED)
    last = forecast.units_of(tallies, tallies.weeks - horizon, tallies.weeks)
    numbers = np.stack([last, found.expected, found.low, found.high]) / bought.share
    rows: list[dict[str, Any]] = [
        {
            **about,
            **dict(zip(("last", "expected", "low", "high"), (round(float(n)) for n in column), strict=True)),
            "advice": _advice(*column) if tested.is_better else "",
        }
        for about, column in zip(told, numbers.T.tolist(), strict=True)
    ]
    rows.sort(key=lambda row: -row["expected"])
    days = [as_of - timedelta(days=7 * (tallies.weeks - origin)) for origin in tested.origins]
    return {
        "rows": rows,
        "check": {
            "days": [day.isoformat() for day in days],
            "error": round(tested.error, 4),
            "plain_error": round(tested.plain_error, 4),
            "closer": tested.closer,
            "inside": round(tested.inside, 4),
            "better": tested.is_better,
        },
    }


def _tallies(bought: Bought, by_week: np.ndarray, ids: np.ndarray, of_line: np.ndarray) -> Tallies:
    order = np.argsort(ids)
    place = np.clip(np.searchsorted(ids[order], of_line), 0, len(ids) - 1)
    ours = ids[order][place] == of_line
    return groups.tally(
        by_week,
        customer=bought.customer[ours],
        week=bought.week[ours],
        item=order[place[ours]],
        pieces=bought.pieces[ours],
        items=len(ids),
    )


def _advice(last: float, _expected: float, low: float, high: float) -> str:
    """Only where the whole interval lies on one side of the last weeks."""
    if low > last:
        return STOCK_UP
    return CLEAR if high < last else ""


def _moved(bought: Bought, by_week: np.ndarray, horizon: int) -> list[tuple[str, int, int]]:
    """Heads of each recency now and after the horizon."""
    none = np.zeros(0, dtype=np.int64)
    tallies = groups.tally(by_week, customer=none, week=none, item=none, pieces=np.zeros(0), items=1)
    _units, then = forecast.expect(tallies, origin=tallies.weeks, horizon=horizon)
    each = len(groups.OFTEN) + 1
    spans = [slice(n * each, (n + 1) * each) for n in range(len(groups.RECENCY))]
    spans.append(slice(groups.LAPSED, groups.NEW))
    return [
        (
            name,
            round(float(tallies.sizes[-1][span].sum() / bought.share)),
            round(float(then[span].sum() / bought.share)),
        )
        for name, span in zip(RECENCY, spans, strict=True)
    ]
