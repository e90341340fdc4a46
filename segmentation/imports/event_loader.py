"""Events of a file into the database: a piece a transaction, each piece whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
from cryptography.fernet import Fernet
from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from segmentation import bulk, contacts, crypto, due, identities, products, redemptions, tombstones
from segmentation.batches import batches
from segmentation.imports import grouping
from segmentation.imports.grouping import OWNER
from segmentation.imports.problems import Reject
from segmentation.imports.reconcile import News, reconcile
from segmentation.jobs import Job, enqueue_due
from segmentation.locks import lock_customers
from segmentation.models import (
    ContactData,
    Customer,
    CustomerIdentity,
    Event,
    EventCode,
    EventItem,
    EventSource,
    EventText,
)
from segmentation.normal import MAX_CODE, MAX_CODES, MAX_UNITS

# SQLite lets one process write at a time: pieces stay well under the 200 ms that others may have to wait.
LINES_A_PIECE = {"sqlite": 6_000, "postgresql": 40_000}
TABLES = (Event, EventCode, EventItem, EventText, Customer, CustomerIdentity, ContactData)
_CUSTOMERS_AT_ONCE = 2_000
_EVENT_COLUMNS = {
    "id": "id", "customer_id": "customer_id", "kind": "kind", "occurred_at": "at", "received_at": "received_at",
    "source_id": "source_id", "source_key": "key", "source_version": "version", "superseded_at": "superseded_at",
    "amount_minor": "amount_minor", "discount_minor": "discount_minor", "original_amount_minor": "original_minor",
    "currency": "currency", "quantity": "quantity", "line_count": "line_count", "category_mask": "category_mask",
    "rating": "rating", "order_key": "order",
}  # fmt: skip


@dataclass
class Loaded:
    """What became of some lines."""

    lines: int = 0
    repeated_lines: int = 0
    erased_lines: int = 0
    events: int = 0
    customers_created: int = 0
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True)
class EventLoader:
    source: EventSource
    namespace: str
    received_at: datetime
    versioned: bool
    marks_due: bool
    products: pl.DataFrame  # product, product_id, mask

    def load(self, lines: pl.DataFrame) -> Iterator[Loaded]:
        """Store one part (segmentation.imports.staging) piece by piece; each answer is committed."""
        events, numbered = grouping.to_events(lines)
        absurd = events.filter(pl.col("quantity") > MAX_UNITS)
        events, created = self._with_customers(events.filter(pl.col("quantity") <= MAX_UNITS))
        refused = numbered.join(absurd.select("event"), on="event", how="semi")["__line__"]
        of_erased = events.filter(pl.col("customer_id").is_null())
        yield Loaded(
            customers_created=created,
            erased_lines=numbered.join(of_erased.select("event"), on="event", how="semi").height,
            rejects=[_absurd(line) for line in refused],
        )
        events = events.filter(pl.col("customer_id").is_not_null())
        if events.is_empty():
            return
        numbered = numbered.join(self.products, on="product", how="left", maintain_order="left")
        masks = numbered.group_by("event").agg(
            pl.col("mask").fill_null(0).bitwise_or().alias("category_mask")
        )
        events = events.join(masks, on="event", how="left", maintain_order="left")
        for piece, piece_lines in grouping.pieces(
            events, numbered, lines_a_piece=LINES_A_PIECE[connection.vendor]
        ):
            yield self._store(piece, piece_lines)

    def _with_customers(self, events: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """Add customer_id, making customers that are new; country and channel fill what is empty.

        Events of people who were erased get none.
        """
        created = 0
        owners: list[tuple[str | None, str | None, int]] = []
        named = events.filter(pl.col("customer").is_not_null()).select(*OWNER)
        people = _who(named).unique(OWNER, maintain_order=True).rows()
        for part in batches(people, _CUSTOMERS_AT_ONCE):
            with transaction.atomic():
                erased = tombstones.among(part, namespace=self.namespace)
                wanted = {who[0] for who in part if who not in erased}
                ids, new = identities.find_or_create_many(self.namespace, wanted)
            owners += [(reference, None, key) for reference, key in ids.items()]
            created += len(new)
        guests: list[str] = (
            events.filter(pl.col("customer").is_null())["email"].unique(maintain_order=True).to_list()
        )
        for emails in batches(guests, _CUSTOMERS_AT_ONCE):
            with transaction.atomic():
                erased = tombstones.among((("", email) for email in emails), namespace=self.namespace)
                ids, new = identities.find_or_create_guests(
                    email for email in emails if ("", email) not in erased
                )
            owners += [(None, email, key) for email, key in ids.items()]
            created += len(new)
        schema = {"customer": pl.String, "email": pl.String, "customer_id": pl.Int64}
        table = pl.DataFrame(owners, schema=schema, orient="row")
        by_reference = table.filter(pl.col("customer").is_not_null()).drop("email").unique()
        by_email = table.filter(pl.col("customer").is_null()).select(
            "email", pl.col("customer_id").alias("guest_id")
        )
        events = (
            events.join(by_reference, on="customer", how="left", maintain_order="left")
            .join(by_email, on="email", how="left", maintain_order="left")
            .with_columns(
                pl.when(pl.col("customer").is_null())
                .then("guest_id")
                .otherwise("customer_id")
                .alias("customer_id")
            )
            .drop("guest_id")
        )
        _fill_profiles(events.filter(pl.col("customer_id").is_not_null()))
        return events, created

    def _store(self, events: pl.DataFrame, lines: pl.DataFrame) -> Loaded:
        sealed = self._sealed_texts(events)
        with transaction.atomic():
            events, lines, erased_lines = self._without_erased(events, lines)
            if events.is_empty():
                return Loaded(erased_lines=erased_lines)
            news = reconcile(events, lines, source=self.source, versioned=self.versioned)
            stored = self._insert(news, sealed)
            if self.marks_due:
                due.mark_due(stored["customer_id"].unique().to_list(), cause="import")
            else:
                due.grow_versions(stored["customer_id"].unique().to_list())
        foreign = lines.join(news.foreign.select("event", "key"), on="event")
        kept = len(lines) - news.repeated_lines - len(foreign)
        return Loaded(
            lines=kept,
            repeated_lines=news.repeated_lines,
            erased_lines=erased_lines,
            events=len(stored),
            rejects=[_foreign(line, key) for line, key in foreign.select("__line__", "key").iter_rows()],
        )

    def _without_erased(
        self, events: pl.DataFrame, lines: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        """What is left when those are gone who were erased since their customers were looked up, and their lines."""
        people = _who(events.select(*OWNER))
        erased = tombstones.among(people.unique(OWNER).rows(), namespace=self.namespace)
        if not erased:
            return events, lines, 0
        is_erased = pl.Series([who in erased for who in people.rows()], dtype=pl.Boolean)
        kept = events.filter(~is_erased)
        kept_lines = lines.join(kept.select("event"), on="event", how="semi")
        return kept, kept_lines, len(lines) - len(kept_lines)

    def _insert(self, news: News, sealed: dict[int, bytes]) -> pl.DataFrame:
        """Events, then the lines and texts of those that were really inserted."""
        replaced = pl.lit(self.received_at, dtype=pl.Datetime("us", "UTC"))
        events = news.events.with_columns(
            id=pl.Series(bulk.new_ids(Event, len(news.events)), dtype=pl.Int64),
            received_at=replaced,
            source_id=pl.lit(self.source.pk),
            superseded_at=pl.when("is_old").then(replaced),
            order=pl.col("order").fill_null(""),
        )
        events = _inserted(events)
        for part in batches(news.replaced):
            Event.objects.filter(pk__in=part).update(superseded_at=self.received_at)
        items = (
            news.lines.filter(pl.col("product_id").is_not_null())
            .join(events.select("event", event_id="id"), on="event", maintain_order="left")
            .select("event_id", "product_id", "quantity", "amount_minor")
        )
        bulk.insert(EventItem, items.columns, items)
        said = _texts_of(news.grown) | sealed
        texts = [
            (key, said[number]) for key, number in events.select("id", "event").iter_rows() if number in said
        ]
        bulk.insert(EventText, ["event_id", "sealed"], texts)
        self._insert_codes(events, news)
        if texts:
            enqueue_due(Job.READ_TEXTS)
        return events

    def _insert_codes(self, events: pl.DataFrame, news: News) -> None:
        """Codes used with orders; an order that goes on keeps those it had, unless the file names some."""
        redemptions.forget(news.replaced)
        named = events.select("id", "event", "codes").filter(pl.col("codes").is_not_null())
        rows = [(key, code, None) for key, _event, told in named.iter_rows() for code in codes_in(told)]
        silent = events.filter(pl.col("codes").is_null() & pl.col("event").is_in(list(news.grown)))
        before = {news.grown[number]: key for key, number in silent.select("id", "event").iter_rows()}
        kept = EventCode.objects.all()
        rows += [
            (before[event], code, off)
            for event, code, off in bulk.values_in(
                kept, sorted(before), "event_id", "code", "discount_minor", by="event_id"
            )
        ]
        bulk.insert(EventCode, ("event_id", "code", "discount_minor"), rows)
        redemptions.record(sorted({key for key, _code, _off in rows}))

    def _sealed_texts(self, events: pl.DataFrame) -> dict[int, bytes]:
        """Event number → its text, sealed; outside the transaction because sealing takes long."""
        spoken = events.filter(pl.col("text").is_not_null()).select("event", "customer_id", "text")
        if spoken.is_empty():
            return {}
        with transaction.atomic():
            # Whoever writes these customers' contact data meanwhile makes the same keys.
            keys = contacts.data_keys(lock_customers(spoken["customer_id"].to_list()))
        boxes = {customer_id: Fernet(crypto.decrypt(key)) for customer_id, key in keys.items()}
        return {
            event: boxes[customer_id].encrypt(text.encode())
            for event, customer_id, text in spoken.iter_rows()
            if customer_id in boxes  # else erased meanwhile
        }


def _who(owners: pl.DataFrame) -> pl.DataFrame:
    """customer and email as the tombstones know them: never null."""
    return owners.with_columns(
        pl.col("customer").fill_null(""), pl.col("email").fill_null("").str.strip_chars()
    )


def _inserted(events: pl.DataFrame) -> pl.DataFrame:
    """The events that are stored now: all of them, unless another worker stored one of the facts meanwhile."""
    rows = events.select(**_EVENT_COLUMNS)
    try:
        with transaction.atomic():
            bulk.insert(Event, rows.columns, rows)
    except IntegrityError:
        bulk.insert(Event, rows.columns, rows, on_conflict="ignore")
        present = bulk.values_in(Event.objects.all(), rows["id"].to_list(), "id", by="id")
        return events.filter(pl.col("id").is_in([key for (key,) in present]))
    return events


def store_products(seen: pl.DataFrame) -> pl.DataFrame:
    """Make products that are new; product, product_id, mask of all."""
    stored: dict[str, products.StoredProduct] = {}
    for part in seen.iter_slices(500):
        with transaction.atomic():
            stored |= products.ensure(
                products.SeenProduct(product, name or "", category or "", first_at)
                for product, name, category, first_at in part.iter_rows()
            )
    return pl.DataFrame(
        [(name, product.id, product.mask) for name, product in stored.items()],
        schema={"product": pl.String, "product_id": pl.Int64, "mask": pl.Int64},
        orient="row",
    )


def _texts_of(grown: Mapping[int, int]) -> dict[int, bytes]:
    """What was said with the stored events that are continued, by number of the event."""
    stored = dict(
        bulk.values_in(EventText.objects.all(), list(grown.values()), "event_id", "sealed", by="event_id")
    )
    return {number: bytes(stored[key]) for number, key in grown.items() if key in stored}


def _fill_profiles(events: pl.DataFrame) -> None:
    for name in ("country", "channel"):
        latest = (
            events.filter(pl.col(name).is_not_null())
            .sort("at")
            .group_by("customer_id")
            .agg(pl.col(name).last() if name == "country" else pl.col(name).first())
        )
        for (value,), rows in latest.group_by(name):
            _fill(name, str(value), rows["customer_id"].sort().to_list())


def _fill(name: str, value: str, customer_ids: Iterable[int]) -> None:
    for part in batches(list(customer_ids)):
        with transaction.atomic():
            lock_customers(part)
            Customer.objects.filter(pk__in=part, **{name: ""}).update(**{name: value})


def codes_in(told: str) -> list[str]:
    """“SPRING, FREE5” as codes, each once, no more than an order keeps."""
    parts = (part.strip()[:MAX_CODE] for part in told.replace(";", ",").split(","))
    return list({part.casefold(): part for part in parts if part}.values())[:MAX_CODES]


def _absurd(line: int) -> Reject:
    return Reject(line, _("The order has more units than can be true."))


def _foreign(line: int, key: str) -> Reject:
    return Reject(line, _("The event %(key)s is stored already for another customer.") % {"key": key})
