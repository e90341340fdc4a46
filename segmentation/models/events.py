from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segmentation.kinds import EventKind
from segmentation.models.leased import Leased

KIND_CHOICES = [
    (EventKind.ORDER_PLACED, _("Ordered")),
    (EventKind.ORDER_CHANGED, _("Order changed")),
    (EventKind.ORDER_CANCELLED, _("Order cancelled")),
    (EventKind.REFUNDED, _("Returned or refunded")),
    (EventKind.VIEWED, _("Looked at")),
    (EventKind.CART_ADDED, _("Put in cart")),
    (EventKind.CART_REMOVED, _("Took out of cart")),
    (EventKind.FAVOURITED, _("Favourited")),
    (EventKind.SEARCHED, _("Searched")),
    (EventKind.REVIEWED, _("Reviewed")),
    (EventKind.TICKET_OPENED, _("Opened a support ticket")),
    (EventKind.TICKET_CLOSED, _("Support ticket closed")),
    (EventKind.COMPLAINED, _("Complained")),
    (EventKind.OFFER_SENT, _("Offer sent")),
    (EventKind.OFFER_REDEEMED, _("Offer redeemed")),
    (EventKind.SIGNED_UP, _("Signed up")),
]


class EventSource(models.Model):
    """Where events come from: an import, a connection, the API.

    What happened since `live_since` was heard of as it happened, so `as_of` asks for its received_at too. What a
    source brings along from before that day is history, and so is everything of a source that is never live.
    """

    slug = models.SlugField(_("short name"), unique=True, max_length=64)
    live_since = models.DateTimeField(_("live since"), null=True, blank=True)

    class Meta:
        verbose_name = _("event source")
        verbose_name_plural = _("event sources")

    def __str__(self) -> str:
        return self.slug


class Category(models.Model):
    """A product category. `number` is its stable position; features use bit `number % 63` of a mask."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    number = models.PositiveIntegerField(unique=True)

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    external_id = models.CharField(_("product id"), max_length=128, unique=True)
    name = models.CharField(_("name"), max_length=300, blank=True, db_index=True)
    category = models.ForeignKey(
        Category,
        verbose_name=_("category"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="products",
    )
    first_seen_at = models.DateTimeField(_("first seen"), null=True, blank=True)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")

    def __str__(self) -> str:
        return self.name or self.external_id


class Event(models.Model):
    """One fact about a customer; append-only. A newer version of a fact is a new row and supersedes the old.

    Amounts are integer minor units of the base currency: goods paid, discounts off, shipping excluded.
    Bulk tables carry no database foreign keys: checks cost more than the copy that loads them.
    """

    customer = models.ForeignKey(
        "segmentation.Customer",
        on_delete=models.CASCADE,
        related_name="events",
        db_constraint=False,
        db_index=False,
    )
    kind = models.PositiveSmallIntegerField(_("what"), choices=KIND_CHOICES)
    occurred_at = models.DateTimeField(_("when"))
    received_at = models.DateTimeField(_("received"), db_default=Now())
    source = models.ForeignKey(
        EventSource, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    source_key = models.CharField(_("id at the source"), max_length=200)
    source_version = models.BigIntegerField(default=0)
    superseded_at = models.DateTimeField(_("replaced"), null=True, blank=True)

    amount_minor = models.BigIntegerField(_("amount"), default=0)
    discount_minor = models.BigIntegerField(_("discount"), default=0)
    original_amount_minor = models.BigIntegerField(null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    quantity = models.IntegerField(_("units"), default=0)
    line_count = models.PositiveIntegerField(_("lines"), default=0)
    category_mask = models.BigIntegerField(default=0, editable=False)
    rating = models.FloatField(_("rating"), null=True, blank=True)
    order_key = models.CharField(_("order"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        indexes = [
            # Everything features read of a customer's events (segmentation/features/event_rows.py), in their order:
            # PostgreSQL never visits the table for it. SQLite leaves `include` out and is as quick without.
            models.Index(
                fields=["customer", "occurred_at", "id"],
                include=[
                    "kind",
                    "received_at",
                    "source",
                    "superseded_at",
                    "amount_minor",
                    "discount_minor",
                    "quantity",
                    "line_count",
                    "category_mask",
                    "rating",
                ],
                name="event_by_customer_time",
            )
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "source_key", "kind", "source_version"], name="event_is_stored_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.occurred_at:%Y-%m-%d}"


class EventItem(models.Model):
    """A line of an event: which product, how many, for how much (base currency, minor units)."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="items", db_constraint=False)
    product = models.ForeignKey(
        Product, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    quantity = models.IntegerField(_("units"), default=1)
    amount_minor = models.BigIntegerField(_("amount"), default=0)

    class Meta:
        verbose_name = _("event line")
        verbose_name_plural = _("event lines")

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_id}"


class EventCode(models.Model):
    """A discount code used with an order, as the shop's system tells it; matched to offers in redemptions.py.

    An empty one says that the order has none any more (normal.NO_CODES).
    """

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="codes", db_constraint=False)
    code = models.CharField(_("code"), max_length=64)
    discount_minor = models.BigIntegerField(_("discount"), null=True, blank=True)

    class Meta:
        verbose_name = _("code used with an order")
        verbose_name_plural = _("codes used with orders")

    def __str__(self) -> str:
        return self.code


class TextModel(models.Model):
    """What tells the sentiment and the topic of a text (segmentation/ml/text.py), fitted on texts from before `as_of` alone.

    It reads texts from that day on until a later one takes over, so no reading ever knows of a later text.
    """

    as_of = models.DateField(_("reads texts from"), unique=True)
    created_at = models.DateTimeField(_("created"), db_default=Now())
    encoder = models.CharField(_("encoder"), max_length=64, blank=True)
    about = models.JSONField(_("numbers"), default=dict)
    content = models.BinaryField()
    sha256 = models.CharField(max_length=64)

    class Meta:
        verbose_name = _("text model")
        verbose_name_plural = _("text models")

    def __str__(self) -> str:
        return f"{self.as_of}"


class EventText(models.Model):
    """A customer's own words (review, ticket), sealed under the customer's key (segmentation/crypto.py).

    What was read in them lies beside: it goes where they go, and is gone with them. text_hash: keyed, so that nobody
    can try texts against it; vector: float16 of `encoder`, worked out once for equal texts. repeats: how many earlier
    texts, of anybody, say exactly the same. read_at without text_model: it is from before the first text model.
    """

    event = models.OneToOneField(
        Event, primary_key=True, on_delete=models.CASCADE, related_name="text", db_constraint=False
    )
    sealed = models.BinaryField()
    read_at = models.DateTimeField(null=True, blank=True)
    text_model = models.ForeignKey(
        TextModel,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    sentiment = models.FloatField(_("sentiment"), null=True, blank=True)
    topic = models.PositiveSmallIntegerField(_("topic"), db_default=0, default=0)
    repeats = models.PositiveSmallIntegerField(_("said before"), db_default=0, default=0)
    text_hash = models.CharField(max_length=64, blank=True, db_default="", default="")
    encoder = models.CharField(max_length=64, blank=True, db_default="", default="")
    vector = models.BinaryField(null=True)

    class Meta:
        verbose_name = _("event text")
        verbose_name_plural = _("event texts")
        indexes = [
            models.Index(fields=["event"], condition=models.Q(read_at=None), name="text_to_read"),
            models.Index(
                fields=["text_hash", "repeats"],
                condition=~models.Q(text_hash=""),
                name="text_by_hash_and_repeats",
            ),
        ]

    def __str__(self) -> str:
        return f"text of event {self.event_id}"


class ProductImage(models.Model):
    """A product's picture as a vector; the picture itself stays where it is. Equal pictures are worked out once."""

    product = models.OneToOneField(Product, primary_key=True, on_delete=models.CASCADE, related_name="image")
    sha256 = models.CharField(max_length=64, db_index=True)
    encoder = models.CharField(_("encoder"), max_length=64)
    vector = models.BinaryField()

    class Meta:
        verbose_name = _("product image")
        verbose_name_plural = _("product images")

    def __str__(self) -> str:
        return f"image of product {self.product_id}"


class ImportRun(Leased):
    """One file brought in: what was read, kept, skipped and rejected."""

    class Kind(models.TextChoices):
        EVENTS = "events", _("Events")
        CUSTOMERS = "customers", _("Customers")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    file_name = models.CharField(_("file"), max_length=300)
    file_sha256 = models.CharField(max_length=64, blank=True)
    mapping = models.JSONField(_("column mapping"), default=dict)
    source = models.ForeignKey(EventSource, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    rows_read = models.PositiveBigIntegerField(_("lines read"), default=0)
    rows_imported = models.PositiveBigIntegerField(_("lines kept"), default=0)
    rows_repeated = models.PositiveBigIntegerField(_("already known"), default=0)
    rows_skipped = models.PositiveBigIntegerField(_("lines left out"), default=0)
    # Among those left out.
    rows_erased = models.PositiveBigIntegerField(_("lines of erased people"), default=0)
    rows_rejected = models.PositiveBigIntegerField(_("lines rejected"), default=0)
    events_created = models.PositiveBigIntegerField(_("events"), default=0)
    customers_created = models.PositiveBigIntegerField(_("new customers"), default=0)
    rejects_file = models.CharField(_("rejects file"), max_length=500, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta(Leased.Meta):
        abstract = False
        verbose_name = _("import")
        verbose_name_plural = _("imports")

    def __str__(self) -> str:
        return self.file_name
