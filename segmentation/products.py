"""Products and categories, made when first seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from segmentation import bulk
from segmentation.batches import batches
from segmentation.models import Category, Product
from segmentation.normal import MAX_CATEGORY, MAX_PRODUCT_NAME

MASK_BITS = 63
_TRIES = 5


@dataclass(frozen=True)
class SeenProduct:
    external_id: str
    name: str = ""
    category: str = ""
    first_seen_at: datetime | None = None


@dataclass(frozen=True)
class StoredProduct:
    id: int
    category_bit: int | None

    @property
    def mask(self) -> int:
        return 0 if self.category_bit is None else 1 << self.category_bit


def ensure(seen: Iterable[SeenProduct]) -> dict[str, StoredProduct]:
    """Store what is new, fill what was empty, and return every product by its external id.

    Needs a transaction. The first name and category of a product stay.
    """
    wanted = _united(seen)
    categories = ensure_categories({product.category for product in wanted.values() if product.category})
    known = _read(wanted)
    Product.objects.bulk_create(
        [
            Product(
                external_id=product.external_id,
                name=product.name[:MAX_PRODUCT_NAME],
                category=categories.get(product.category[:MAX_CATEGORY]),
                first_seen_at=product.first_seen_at,
            )
            for key, product in sorted(wanted.items())
            if key not in known
        ],
        ignore_conflicts=True,
        batch_size=1000,
    )
    _fill([known[key] for key in known], wanted, categories)
    # What is filled here is filled in the rows that were read as well.
    stored = known if known.keys() >= wanted.keys() else _read(wanted)
    return {
        key: StoredProduct(row.pk, row.category.number % MASK_BITS if row.category else None)
        for key, row in stored.items()
    }


def ensure_categories(names: Iterable[str]) -> dict[str, Category]:
    """Categories by name; a new one takes the next number, which it keeps for good."""
    wanted = sorted({name[:MAX_CATEGORY] for name in names})
    for _attempt in range(_TRIES):
        known = {row.name: row for part in batches(wanted) for row in Category.objects.filter(name__in=part)}
        missing = [name for name in wanted if name not in known]
        if not missing:
            return known
        last = Category.objects.aggregate(last=Max("number"))["last"]
        first = 0 if last is None else last + 1
        # Another worker may take the same number at the same time: look again and take the next.
        Category.objects.bulk_create(
            [Category(name=name, number=first + offset) for offset, name in enumerate(missing)],
            ignore_conflicts=True,
        )
    raise RuntimeError("categories could not be numbered; another process keeps taking the numbers")


def _united(seen: Iterable[SeenProduct]) -> dict[str, SeenProduct]:
    united: dict[str, SeenProduct] = {}
    for product in seen:
        before = united.get(product.external_id, product)
        times = [at for at in (before.first_seen_at, product.first_seen_at) if at]
        united[product.external_id] = SeenProduct(
            product.external_id,
            before.name or product.name,
            before.category or product.category,
            min(times) if times else None,
        )
    return united


def _read(keys: Iterable[str]) -> dict[str, Product]:
    rows: dict[str, Product] = {}
    for part in batches(list(keys)):
        for row in Product.objects.filter(external_id__in=part).select_related("category"):
            rows[row.external_id] = row
    return rows


def _fill(known: list[Product], seen: Mapping[str, SeenProduct], categories: Mapping[str, Category]) -> None:
    changed = []
    for row in known:
        news = seen[row.external_id]
        name = row.name or news.name[:MAX_PRODUCT_NAME]
        category = row.category or categories.get(news.category[:MAX_CATEGORY])
        times = [at for at in (row.first_seen_at, news.first_seen_at) if at]
        first = min(times) if times else None
        if (name, category, first) != (row.name, row.category, row.first_seen_at):
            row.name, row.category, row.first_seen_at = name, category, first
            changed.append(row)
    bulk.update(
        Product,
        ("id", "name", "category_id", "first_seen_at"),
        [(row.pk, row.name, row.category_id, row.first_seen_at) for row in changed],
    )
