"""Who bought which products, as sparse matrices for learning what is bought next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from django.db.models import Q
from scipy import sparse

from segmentation import product_images
from segmentation.features.days import midnight
from segmentation.kinds import EventKind
from segmentation.ml.recommending import Purchases
from segmentation.models import EventItem, Product, Shop

# Lines read at most, the newest; products at most, the most bought: a matrix that fits any worker's memory.
MOST_LINES, MOST_PRODUCTS = 3_000_000, 5_000
LOOK_BACK_DAYS = 730
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Lines:
    """(n,) each: one line of an order that still stands, sorted by time; survivors of merges stand for the merged."""

    customer: np.ndarray
    product: np.ndarray
    event: np.ndarray
    day: np.ndarray

    def take(self, rows: np.ndarray) -> Lines:
        return Lines(self.customer[rows], self.product[rows], self.event[rows], self.day[rows])


def read(*, as_of: date, shop: Shop) -> Lines:
    """Lines of orders of customers who may be profiled, from the two years before `as_of`."""
    since = midnight(as_of - timedelta(days=LOOK_BACK_DAYS), shop.zone)
    rows = EventItem.objects.filter(
        Q(event__customer__merged_into__isnull=True) | Q(event__customer__merged_into__is_profiled=True),
        event__kind=EventKind.ORDER_PLACED,
        event__superseded_at__isnull=True,
        event__customer__is_profiled=True,
        event__occurred_at__gte=since,
        event__occurred_at__lt=midnight(as_of, shop.zone),
        quantity__gt=0,
    ).order_by("-event__occurred_at", "-pk")[:MOST_LINES]
    columns = (
        "event__customer_id",
        "event__customer__merged_into_id",
        "product_id",
        "event_id",
        "event__occurred_at",
    )
    found = [
        (into or own, product, event, at.date().toordinal())
        for own, into, product, event, at in rows.values_list(*columns).iterator(chunk_size=20_000)
    ]
    table = np.array(found[::-1], dtype=np.int64).reshape(-1, 4)
    return Lines(*(np.ascontiguousarray(column) for column in table.T))


def products_of(lines: Lines) -> np.ndarray:
    """Ids of the most bought products, by how many customers, sorted."""
    pairs = np.unique(np.stack([lines.product, lines.customer], axis=1), axis=0)
    ids, customers = np.unique(pairs[:, 0], return_counts=True)
    return np.sort(ids[np.argsort(-customers, kind="stable")[:MOST_PRODUCTS]])


def counts(lines: Lines, *, customers: np.ndarray, products: np.ndarray) -> sparse.csr_matrix:
    """(customers, products) in how many orders each was bought; both sorted ids."""
    known = np.isin(lines.product, products) & np.isin(lines.customer, customers)
    rows = np.unique(
        np.stack([lines.customer[known], lines.product[known], lines.event[known]], axis=1), axis=0
    )
    place = np.searchsorted(customers, rows[:, 0]), np.searchsorted(products, rows[:, 1])
    return sparse.csr_matrix((np.ones(len(rows)), place), shape=(len(customers), len(products)))


def purchases(lines: Lines, *, customers: np.ndarray, products: np.ndarray) -> Purchases:
    known = lines.take(np.isin(lines.product, products))
    events = np.unique(known.event)
    pairs = np.unique(np.stack([known.event, known.product], axis=1), axis=0)
    place = np.searchsorted(events, pairs[:, 0]), np.searchsorted(products, pairs[:, 1])
    baskets = sparse.csr_matrix((np.ones(len(pairs)), place), shape=(len(events), len(products)))
    return Purchases(counts(lines, customers=customers, products=products), baskets, _content(products))


def _content(products: np.ndarray) -> sparse.csr_matrix:
    """(products, words) rarer words weigh more; a category is a word of its own; pictures follow, where there are any."""
    words: dict[str, int] = {}
    rows, columns = [], []
    named = Product.objects.in_bulk([int(key) for key in products])
    for row, key in enumerate(products.tolist()):
        product = named.get(key)
        if product is None:
            continue
        own = {word.lower() for word in _WORD.findall(product.name)}
        if product.category_id is not None:
            own.add(f"category {product.category_id}")
        for word in sorted(own):
            rows.append(row)
            columns.append(words.setdefault(word, len(words)))
    width = max(len(words), 1)
    often = np.bincount(np.array(columns, dtype=np.int64), minlength=width)
    weights = np.log(len(products) / np.maximum(often, 1))[columns] if columns else np.zeros(0)
    said = sparse.csr_matrix((weights, (rows, columns)), shape=(len(products), width))
    pictures = product_images.vectors(products)
    return said if pictures is None else _with_pictures(said, pictures)


def _with_pictures(said: sparse.csr_matrix, pictures: np.ndarray) -> sparse.csr_matrix:
    """Words of length 1 beside pictures of length 1: likeness is the mean of both, or of what there is of a product."""
    lengths = np.sqrt(np.asarray(said.multiply(said).sum(axis=1)).ravel())
    words = sparse.diags(1.0 / np.maximum(lengths, 1e-12)) @ said
    return sparse.csr_matrix(sparse.hstack([words, sparse.csr_matrix(pictures)], format="csr"))
