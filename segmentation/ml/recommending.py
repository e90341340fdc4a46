"""Products bought next, from who bought what: five methods over one sparse matrix, judged by a later window.

Matrices are customers × products with the number of orders that held the product. Every method gives a score to each
product for each customer; what a customer has bought already may come again, as it does in a shop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import sparse

TOP = 10
# Implicit feedback (Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", 2008).
FACTORS, ROUNDS, RIDGE, CONFIDENCE = 32, 8, 5.0, 10.0
NEIGHBOURS = 50
# A rule "who bought A buys B" needs this many baskets with both.
RULE_BASKETS = 5
POPULARITY: Final = "popularity"
METHODS: Final = (POPULARITY, "item_knn", "factors", "content", "rules")


@dataclass(frozen=True)
class Purchases:
    """counts: (customers, products) sparse. baskets: (orders, products) sparse 0/1. content: (products, words) sparse."""

    counts: sparse.csr_matrix
    baskets: sparse.csr_matrix
    content: sparse.csr_matrix


def fit(name: str, bought: Purchases, *, seed: int) -> dict[str, np.ndarray]:
    """What a method keeps, as arrays; see `scores`."""
    return _FITS[name](bought, seed)


def scores(name: str, state: Mapping[str, np.ndarray], counts: sparse.csr_matrix) -> np.ndarray:
    """(customers, products) higher is likelier; of equal ones the more popular product first."""
    tie = state["popularity"] / max(float(state["popularity"].max()), 1.0) * 1e-6
    if name == POPULARITY:
        return np.tile(state["popularity"] + tie, (counts.shape[0], 1))
    seen = _binary(counts)
    if name == "factors":
        return _folded_in(counts, state["items"]) @ state["items"].T + tie
    similar = sparse.csr_matrix(
        (state["data"], state["indices"], state["indptr"]), shape=(counts.shape[1], counts.shape[1])
    )
    return np.asarray((seen @ similar).todense()) + tie


def top(values: np.ndarray, *, allowed: np.ndarray, most: int = TOP) -> np.ndarray:
    """(customers, most) positions of the highest scores among the allowed products, the highest first."""
    masked = np.where(allowed[None, :], values, -np.inf)
    most = min(most, int(allowed.sum()))
    best = np.argpartition(-masked, most - 1, axis=1)[:, :most]
    order = np.argsort(-np.take_along_axis(masked, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def recall(named: np.ndarray, bought: Sequence[set[int]]) -> np.ndarray:
    """(customers,) share of the products bought later that were named, of at most as many as are named."""
    return np.array(
        [
            len(set(row) & later) / min(len(later), named.shape[1])
            for row, later in zip(named.tolist(), bought, strict=True)
        ]
    )


def ndcg(named: np.ndarray, bought: Sequence[set[int]]) -> np.ndarray:
    """(customers,) gain of the named products, each worth less the later it is named, beside a perfect list."""
    worth = 1.0 / np.log2(np.arange(2, named.shape[1] + 2))
    found = []
    for row, later in zip(named.tolist(), bought, strict=True):
        hits = np.array([product in later for product in row], dtype=float)
        found.append(float(hits @ worth) / float(worth[: min(len(later), len(worth))].sum()))
    return np.array(found)


def _popularity(bought: Purchases, seed: int) -> dict[str, np.ndarray]:
    """How many customers bought it: one who buys it daily is one."""
    return {"popularity": np.asarray(_binary(bought.counts).sum(axis=0)).ravel().astype(np.float64)}


def _item_knn(bought: Purchases, seed: int) -> dict[str, np.ndarray]:
    """Cosine of the customers who bought both; a product is its own nearest neighbour, since it is bought again."""
    seen = _unit_columns(_binary(bought.counts))
    return _kept(seen.T @ seen, NEIGHBOURS) | _popularity(bought, seed)


def _content(bought: Purchases, seed: int) -> dict[str, np.ndarray]:
    """Cosine of names and categories."""
    words = _unit_columns(bought.content.T.tocsr()).T.tocsr()
    return _kept(words @ words.T, NEIGHBOURS) | _popularity(bought, seed)


def _rules(bought: Purchases, seed: int) -> dict[str, np.ndarray]:
    """Confidence of “who has A in the basket has B too”: baskets with both over baskets with A."""
    both = (bought.baskets.T @ bought.baskets).tocsr().astype(np.float64)
    alone = np.maximum(both.diagonal(), 1.0)
    both.data[both.data < RULE_BASKETS] = 0.0
    both.eliminate_zeros()
    return _kept(sparse.diags(1.0 / alone) @ both, NEIGHBOURS) | _popularity(bought, seed)


def _factors(bought: Purchases, seed: int) -> dict[str, np.ndarray]:
    """Alternating least squares on confidence 1 + α·orders."""
    rng = np.random.default_rng(seed)
    size = min(FACTORS, *bought.counts.shape)
    items = rng.normal(0, 0.1, (bought.counts.shape[1], size))
    by_item = bought.counts.T.tocsr()
    for _round in range(ROUNDS):
        people = _folded_in(bought.counts, items)
        items = _folded_in(by_item, people)
    return {"items": items} | _popularity(bought, seed)


def _folded_in(counts: sparse.csr_matrix, others: np.ndarray) -> np.ndarray:
    """(rows, f) the least-squares factors of each row, given those of the columns."""
    gram = others.T @ others + RIDGE * np.eye(others.shape[1])
    found = np.zeros((counts.shape[0], others.shape[1]))
    for row in range(counts.shape[0]):
        start, end = counts.indptr[row], counts.indptr[row + 1]
        if start == end:
            continue
        mine = others[counts.indices[start:end]]
        extra = CONFIDENCE * counts.data[start:end].astype(np.float64)
        found[row] = np.linalg.solve(gram + (mine.T * extra) @ mine, (1.0 + extra) @ mine)
    return found


def _kept(similar: sparse.spmatrix, most: int) -> dict[str, np.ndarray]:
    """The `most` strongest neighbours of each product."""
    rows = similar.tocsr()
    data, indices, indptr = [], [], [0]
    for row in range(rows.shape[0]):
        values = rows.data[rows.indptr[row] : rows.indptr[row + 1]]
        columns = rows.indices[rows.indptr[row] : rows.indptr[row + 1]]
        best = np.sort(np.argsort(-values, kind="stable")[:most])
        data.append(values[best])
        indices.append(columns[best])
        indptr.append(indptr[-1] + len(best))
    return {
        "data": np.concatenate(data).astype(np.float64),
        "indices": np.concatenate(indices).astype(np.int64),
        "indptr": np.array(indptr, dtype=np.int64),
    }


def _binary(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(counts.data)), counts.indices, counts.indptr), shape=counts.shape)


def _unit_columns(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
    return (matrix @ sparse.diags(1.0 / np.maximum(norms, 1e-12))).tocsr()


_FITS: dict[str, Callable[[Purchases, int], dict[str, np.ndarray]]] = {
    POPULARITY: _popularity,
    "item_knn": _item_knn,
    "factors": _factors,
    "content": _content,
    "rules": _rules,
}
