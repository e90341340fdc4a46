"""Products that a customer will probably want next, as stored: read by pages and exports, which load no learning library."""

from __future__ import annotations

from segmentation.models import ModelVersion, Product, ProductSuggestion, Target


def of_customer(customer_id: int) -> list[tuple[Target, ModelVersion, list[tuple[Product, float]]]]:
    """Target, version and products with their scores, in two queries."""
    rows = list(
        ProductSuggestion.objects.filter(customer=customer_id, target__is_active=True)
        .select_related("target", "version")
        .defer("version__evaluation", "version__reference")
        .order_by("target__slug")
    )
    ids = {int(key) for row in rows for key, _score in row.products}
    known = Product.objects.select_related("category").in_bulk(ids)
    return [
        (
            row.target,
            row.version,
            [(known[int(key)], float(score)) for key, score in row.products if int(key) in known],
        )
        for row in rows
    ]
