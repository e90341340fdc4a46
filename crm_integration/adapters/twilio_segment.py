"""Twilio Segment: HMAC-SHA1 in hex, of the whole body under the newer header, of the first event under the older one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar

from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import fetching, signatures
from crm_integration.adapters import segment_push
from crm_integration.adapters.base import Adapter, Delivery, Found, Parsed, Shown, Unreadable, collect, digest
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import BadField, Fields, load_objects
from crm_integration.http import DeliveryError
from crm_integration.models import Connection
from crm_integration.schemes import Scheme
from segmentation import normal
from segmentation.kinds import EventKind
from segmentation.normal import NormalCustomer, NormalEvent, NormalItem

MAX_LINES = 500
MAX_BATCH = 1000
# region → (tracking, profiles)
REGIONS = {
    "us": ("https://api.segment.io", "https://profiles.segment.com"),
    "eu": ("https://eu1.api.segmentapis.com", "https://profiles.euw1.segment.com"),
}
TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})


class SegmentAdapter(Adapter):
    slug = "segment"
    label = "Twilio Segment"
    uses_shop_ids = True  # userId is the id that the shop gave
    retries_are_identical = False
    pushing = PushKind(batch=100)
    can_read_back = True
    # twilio.com/docs/segment/guides/what-is-replay; the Profile API lists the events of one known person at a time.
    why_not_compared = _(
        "Twilio Segment has no API that lists past events, so nothing can be compared and no history fetched. Where your "
        "plan has it, ask Segment's support for a replay to this connection's webhook: what comes twice counts once."
    )
    # By region; for tests one root takes the place of all.
    api_root: ClassVar[str] = ""
    needs = (
        Need(
            "region",
            _("Region of the workspace"),
            field=Field.CHOICE,
            choices=tuple(REGIONS),
            default="us",
        ),
        Need(
            "write_key",
            _("Write key of a source"),
            _("To tell Segment: add a source of the kind “HTTP API”; its write key is in its settings."),
            Field.SECRET,
        ),
        Need("space_id", _("Space id"), _("To read traits back: Unify → Settings → API access.")),
        Need(
            "profile_token",
            _("Profile API access token"),
            _("To read traits back; not every plan of Segment has this."),
            Field.SECRET,
        ),
    )
    blurb = _("What visitors and customers do, as Segment's track and identify calls tell it.")
    scheme = Scheme("x-segment-signature", algorithm="sha1", encoding="hex", aliases=("x-signature",))
    example = Example(
        {
            "type": "identify",
            "messageId": "{key}",
            "userId": "{person}",
            "timestamp": "{now}",
            "traits": {"firstName": "Test", "createdAt": "{now}"},
        }
    )
    steps = (
        _(
            "In Segment, add the destination “Webhooks (Actions)” with the address and the secret of this page."
        ),
        _(
            "Switch on “Use X-Segment-Signature Header”: the older X-Signature covers only the first event of a batch."
        ),
        _("userId must be the customer's id in your shop. Events without it count only with an e-mail."),
    )

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        """Both headers are held against the whole body, so a batch under the older one is refused."""
        headers = delivery.headers
        given = headers.get("x-segment-signature") or headers.get("x-signature", b"")
        signatures.verify_mac([given], delivery.body, secrets=secrets, algorithm="sha1", encoding="hex")

    def dedupe_key(self, delivery: Delivery) -> str:
        """messageId; of several events, all of theirs."""
        try:
            keys = [_message_id(entry) for entry in _entries(delivery.body)]
        except BadField:
            return digest(delivery.body)
        if not all(keys):
            return digest(delivery.body)
        return keys[0] if len(keys) == 1 else digest(*(key.encode() for key in keys))

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        try:
            entries = _entries(body)
            names = [_name(entry) for entry in entries]
        except BadField as problem:
            raise Unreadable(str(problem)) from problem
        title = sorted(set(names))[0] + (f" +{len(set(names)) - 1}" if len(set(names)) > 1 else "")
        if not any(name in TOPICS or name == "identify" for name in names):
            return Parsed(title, is_known=False, shown=tuple(_own_shown(entries)))
        return collect(title, enumerate(entries), lambda entry: _read(entry, message_key))

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        return segment_push.push(self._tracking(connection), writes, now=datetime.now(UTC))

    def probe(self, connection: Connection, *, names: Names) -> None:
        """A write key cannot be tried: Segment answers 200 to a wrong one as well."""
        self._tracking(connection)

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        return segment_push.read_back(self._profiles(connection), references, names=names)

    def _tracking(self, connection: Connection) -> fetching.Api:
        [key] = fetching.credentials(connection, "write_key")
        return fetching.Api(self.api_root or _hosts(connection)[0], fetching.basic(key, ""), time.sleep)

    def _profiles(self, connection: Connection) -> fetching.Api:
        token, space = connection.credentials.get("profile_token"), connection.options.get("space_id")
        if not (token and space):
            raise DeliveryError(
                _t("Enter the space id and the Profile API token to read traits back."), permanent=True
            )
        root = self.api_root or _hosts(connection)[1]
        return fetching.Api(f"{root}/v1/spaces/{space}", fetching.basic(token, ""), time.sleep)


def _hosts(connection: Connection) -> tuple[str, str]:
    return REGIONS.get(str(connection.options.get("region")), REGIONS["us"])


def _entries(body: bytes) -> list[Fields]:
    """One event, a list of them, or a batch under its name."""
    found = load_objects(body)
    if len(found) == 1 and "batch" in found[0]:
        entries = Fields(found[0]).objects("batch", most=MAX_BATCH)
        if not entries:
            raise BadField(_t("%(field)s is missing.") % {"field": "batch"})
        return entries
    if len(found) > MAX_BATCH:
        raise BadField(_t("The body holds too many events."))
    return [Fields(entry, f"[{number}]" if len(found) > 1 else "") for number, entry in enumerate(found)]


def _message_id(entry: Fields) -> str:
    return entry.text("messageId", most=100)


def _name(entry: Fields) -> str:
    kind = entry.text("type", most=20, required=True)
    return entry.text("event", most=100, required=True).lower() if kind == "track" else kind


def _own_shown(entries: Iterable[Fields]) -> Iterator[Shown]:
    """Events that bear the mark of our own writes."""
    for entry in entries:
        if entry.clipped("messageId", most=100).startswith(segment_push.MARK):
            yield Shown(entry.clipped("userId", most=normal.MAX_REFERENCE), is_own=True)


def _read(entry: Fields, message_key: str) -> Found:
    own = tuple(_own_shown([entry]))
    if own:
        return Found(shown=own)
    if entry.text("type", most=20, required=True) == "identify":
        return _identify(entry)
    reader = TOPICS.get(_name(entry))
    return reader(entry, _message_id(entry) or message_key) if reader else Found()


def _moment(entry: Fields) -> datetime:
    at = entry.moment("timestamp") or entry.moment("sentAt") or entry.moment("receivedAt")
    if at is None:
        raise BadField(_t("%(field)s is missing.") % {"field": entry.name("timestamp")})
    return at


def _identify(entry: Fields) -> Found:
    """Traits of somebody with an id; visitors without one are nobody yet."""
    reference = entry.text("userId", most=normal.MAX_REFERENCE)
    if not reference:
        return Found()
    traits, at = entry.part("traits"), _moment(entry)
    person = NormalCustomer(
        reference=reference,
        email=traits.clipped("email", most=254),
        first_name=traits.clipped("firstName", most=150) or traits.clipped("first_name", most=150),
        last_name=traits.clipped("lastName", most=150) or traits.clipped("last_name", most=150),
        phone=traits.clipped("phone", most=50),
        country=traits.part("address").clipped("country", most=64) or traits.clipped("country", most=64),
        language=entry.part("context").clipped("locale", most=35),
        signed_up_at=_created(traits),
        updated_at=at,
    )
    return Found(customers=(person,))


def _created(traits: Fields) -> datetime | None:
    """Shops write this trait in many ways; one that is no moment says nothing."""
    try:
        return traits.moment("createdAt", utc=True)
    except BadField:
        return None


def _event(kind: EventKind, entry: Entry, **facts: object) -> NormalEvent:
    traits = entry.fields.part("context").part("traits")
    told = {
        "source_key": entry.key,
        "kind": kind,
        "occurred_at": _moment(entry.fields),
        "customer": entry.fields.text("userId", most=normal.MAX_REFERENCE) or None,
        "email": entry.properties.clipped("email", most=254) or traits.clipped("email", most=254),
        "items": entry.items(),
        "currency": entry.properties.text("currency", most=3).upper(),
        "channel": entry.fields.clipped("channel", most=64),
    }
    return NormalEvent(**{**told, **facts})  # type: ignore[arg-type]


class Entry:
    """A track event: its key, its properties and its products."""

    def __init__(self, fields: Fields, key: str) -> None:
        self.fields, self.key = fields, key
        self.properties = fields.part("properties")

    def items(self) -> tuple[NormalItem, ...]:
        """The products of an order, or the one product that the properties themselves describe."""
        lines = self.properties.objects("products", most=MAX_LINES)
        if lines:
            return tuple(_item(line) for line in lines)
        return (_item(self.properties),) if self.properties.has("product_id") else ()

    def order(self) -> str:
        return self.properties.text("order_id", most=normal.MAX_SOURCE_KEY, required=True)

    def goods(self) -> Decimal:
        """Without shipping and tax, after discounts: `subtotal` or `revenue`; else worked out from `total`."""
        told = self.properties
        for name in ("subtotal", "revenue"):
            if told.has(name):
                return told.amount_or_zero(name)
        if not told.has("total"):
            raise BadField(_t("%(field)s is missing.") % {"field": told.name("revenue")})
        rest = told.amount_or_zero("shipping") + told.amount_or_zero("tax")
        return max(told.amount_or_zero("total") - rest, Decimal(0))


def _item(line: Fields) -> NormalItem:
    quantity = line.whole("quantity", default=1, most=normal.MAX_QUANTITY)
    name = line.clipped("name", most=normal.MAX_PRODUCT_NAME)
    key = line.clipped("product_id", most=normal.MAX_PRODUCT_ID) or line.clipped(
        "sku", most=normal.MAX_PRODUCT_ID
    )
    return NormalItem(
        product_id=key or name[: normal.MAX_PRODUCT_ID] or "-",
        product_name=name,
        category=line.clipped("category", most=normal.MAX_CATEGORY),
        quantity=quantity,
        amount=line.amount_or_zero("price") * quantity,
    )


Reader = Callable[[Fields, str], Found]


def _placed(fields: Fields, key: str) -> Found:
    entry = Entry(fields, key)
    order = entry.order()
    discount = entry.properties.amount_or_zero("discount")
    facts = {"source_key": order, "order_key": order, "amount": entry.goods(), "discount": discount}
    return Found((_event(EventKind.ORDER_PLACED, entry, **facts),))


def _changed(fields: Fields, key: str) -> Found:
    entry = Entry(fields, key)
    return Found((_event(EventKind.ORDER_CHANGED, entry, order_key=entry.order(), amount=entry.goods()),))


def _cancelled(fields: Fields, key: str) -> Found:
    entry = Entry(fields, key)
    order = entry.order()
    facts = {"source_key": order, "order_key": order, "items": (), "currency": ""}
    return Found((_event(EventKind.ORDER_CANCELLED, entry, **facts),))


def _refunded(fields: Fields, key: str) -> Found:
    """What was given back: the products that are named, else the sum that is told."""
    entry = Entry(fields, key)
    items = entry.items()
    amount = sum((item.amount for item in items), Decimal(0)) if items else entry.goods()
    return Found((_event(EventKind.REFUNDED, entry, order_key=entry.order(), amount=amount),))


def _plain(kind: EventKind) -> Reader:
    return lambda fields, key: Found((_event(kind, Entry(fields, key)),))


def _reviewed(fields: Fields, key: str) -> Found:
    entry = Entry(fields, key)
    text = entry.properties.clipped("review_body", most=normal.MAX_TEXT)
    rating = entry.properties.amount("rating")
    return Found((_event(EventKind.REVIEWED, entry, text=text, rating=float(rating) if rating else None),))


TOPICS: dict[str, Reader] = {
    "order completed": _placed,
    "order updated": _changed,
    "order cancelled": _cancelled,
    "order refunded": _refunded,
    "product viewed": _plain(EventKind.VIEWED),
    "product added": _plain(EventKind.CART_ADDED),
    "product removed": _plain(EventKind.CART_REMOVED),
    "product added to wishlist": _plain(EventKind.FAVOURITED),
    "products searched": _plain(EventKind.SEARCHED),
    "product reviewed": _reviewed,
    "signed up": _plain(EventKind.SIGNED_UP),
}
SegmentAdapter.topics = ("identify", *(name.capitalize() for name in TOPICS))
