"""Mappings for formats that are known."""

from __future__ import annotations

from django.utils.translation import gettext as _

from segmentation.imports.mapping import AttributeMapping, CustomerMapping, EventMapping
from segmentation.imports.problems import ImportProblem
from segmentation.kinds import EventKind

# UCI "Online Retail" and "Online Retail II" (doi 10.24432/C5CG6D) under the headings of their public copies.
# An order is one customer, time and sign: invoices are missing for a part of the second year.
ONLINE_RETAIL = EventMapping(
    columns={
        "customer": ("customer_id", "Customer ID", "CustomerID"),
        "time": ("ts", "InvoiceDate", "invoice_date"),
        "order": ("invoice", "Invoice", "InvoiceNo"),
        "product": ("stock_code", "StockCode"),
        "product_name": ("description", "Description"),
        "quantity": ("quantity", "Quantity"),
        "unit_price": ("price", "Price", "UnitPrice"),
        "country": ("country", "Country"),
    },
    currency="GBP",
    time_zone="Europe/London",
    time_formats=("%m/%d/%Y %H:%M",),
    cancelled_prefix="C",
    group_by="customer_and_time",
    skip_free_lines=True,
    source="online-retail",
)

TIERWISE_EVENTS = EventMapping(
    columns={
        "event": ("event_id",),
        "kind": ("kind",),
        "time": ("occurred_at",),
        "customer": ("customer_id",),
        "order": ("order_id",),
        "product": ("product_id",),
        "product_name": ("product_name",),
        "category": ("category",),
        "quantity": ("quantity",),
        "unit_price": ("unit_price",),
        "discount": ("discount",),
        "currency": ("currency",),
        "rating": ("rating",),
        "text": ("text",),
        "channel": ("channel",),
    },
    kinds={kind.slug: kind for kind in EventKind},
    time_zone="UTC",
    source="tierwise",
)

TIERWISE_CUSTOMERS = CustomerMapping(
    columns={
        name: (column,)
        for name, column in {
            "customer": "customer_id",
            "email": "email",
            "first_name": "first_name",
            "last_name": "last_name",
            "phone": "phone",
            "country": "country",
            "channel": "channel",
            "language": "language",
            "birthday": "birthday",
            "signed_up_at": "signed_up_at",
            "marketing_consent": "marketing_consent",
            "marketing_consent_at": "marketing_consent_at",
        }.items()
    },
    attributes=(
        AttributeMapping(
            slug="shopper_type",
            column="shopper_type",
            kind="choice",
            is_label=True,
            valid_from="signed_up_at",
        ),
        AttributeMapping(
            slug="newsletter_frequency",
            column="newsletter_frequency",
            kind="choice",
            is_feature=True,
            valid_from="signed_up_at",
        ),
        AttributeMapping(
            slug="household_size",
            column="household_size",
            kind="number",
            is_feature=True,
            valid_from="signed_up_at",
        ),
    ),
    time_zone="UTC",
    source="tierwise",
)

EVENTS = {"online-retail": ONLINE_RETAIL, "tierwise": TIERWISE_EVENTS}
CUSTOMERS = {"tierwise": TIERWISE_CUSTOMERS}


def events(name: str) -> EventMapping:
    """Raises ImportProblem."""
    if name not in EVENTS:
        raise _unknown(name, list(EVENTS))
    return EVENTS[name]


def customers(name: str) -> CustomerMapping:
    """Raises ImportProblem."""
    if name not in CUSTOMERS:
        raise _unknown(name, list(CUSTOMERS))
    return CUSTOMERS[name]


def _unknown(name: str, known: list[str]) -> ImportProblem:
    return ImportProblem(
        _("There is no preset %(name)s for this; there are %(known)s.")
        % {"name": name, "known": ", ".join(known)}
    )
