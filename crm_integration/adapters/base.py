"""What a CRM must be able to do to be connected (see ADDING_A_CRM.md)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from django.utils.functional import Promise

from crm_integration import http, signatures
from crm_integration.adapters.examples import Example
from crm_integration.adapters.needs import Need
from crm_integration.adapters.pushing import Names, Outcomes, PushKind, Values, Write
from crm_integration.adapters.reading import BadField, Fields, load_object
from crm_integration.models import Connection, OutboundMessage
from crm_integration.schemes import Scheme
from segmentation.normal import NormalCustomer, NormalEvent

Entry = TypeVar("Entry")
Cursor = dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """A request as it came. Header names are lower-case; values are the bytes that were sent.

    `url` is the public address it was sent to, as staff configured it; `options` are the connection's.
    """

    body: bytes
    headers: Mapping[str, bytes]
    url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemRejection:
    """`item` counts from 0 within the message."""

    item: int
    reason: str


@dataclass(frozen=True)
class Thin:
    """A record that the message names without saying what is in it; `hydrate` fetches it.

    `changed`: the only fields of it that changed, with what they hold now; None where the message does not say so.
    """

    item: int
    kind: str
    key: str
    changed: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Shown:
    """What a message shows of a customer's record beyond what we read: fields and tags that we may have written.

    `is_own`: it bears a mark that only our writes have.
    """

    reference: str
    fields: Mapping[str, str] = field(default_factory=dict)
    tags: frozenset[str] | None = None
    is_own: bool = False


@dataclass(frozen=True)
class Merged:
    """The CRM made one record of several; `kept` may be a new one."""

    kept: str
    gone: tuple[str, ...]


class PrivacyKind(StrEnum):
    """What a CRM tells or asks about somebody's data."""

    DELETED = "deleted"  # the record was deleted there; what that means here is for staff to say
    ERASE = "erase"
    EXPORT = "export"
    ERASE_SHOP = "erase_shop"


@dataclass(frozen=True)
class PrivacyRequest:
    """`reference` is the customer's id at the source, empty where only the e-mail is known (or for a whole shop)."""

    kind: PrivacyKind
    reference: str = ""
    email: str = ""


@dataclass(frozen=True)
class Found:
    """What one item of a message says."""

    events: tuple[NormalEvent, ...] = ()
    customers: tuple[NormalCustomer, ...] = ()
    privacy: tuple[PrivacyRequest, ...] = ()
    thin: tuple[Thin, ...] = ()
    shown: tuple[Shown, ...] = ()
    merged: tuple[Merged, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """What a message says. `event_items[i]` is the position in the message that `events[i]` came from."""

    topic: str
    is_known: bool = True
    is_test: bool = False
    events: tuple[NormalEvent, ...] = ()
    event_items: tuple[int, ...] = ()
    customers: tuple[NormalCustomer, ...] = ()
    customer_items: tuple[int, ...] = ()
    rejections: tuple[ItemRejection, ...] = ()
    privacy: tuple[PrivacyRequest, ...] = ()
    privacy_items: tuple[int, ...] = ()
    thin: tuple[Thin, ...] = ()
    shown: tuple[Shown, ...] = ()
    merged: tuple[Merged, ...] = ()
    merged_items: tuple[int, ...] = ()

    def plus(self, other: Parsed) -> Parsed:
        """Both together, under this topic; the thin records are those of `other`, since it fetched the rest."""
        return replace(
            self,
            events=self.events + other.events,
            event_items=self.event_items + other.event_items,
            customers=self.customers + other.customers,
            customer_items=self.customer_items + other.customer_items,
            rejections=self.rejections + other.rejections,
            privacy=self.privacy + other.privacy,
            privacy_items=self.privacy_items + other.privacy_items,
            thin=other.thin,
            shown=self.shown + other.shown,
            merged=self.merged + other.merged,
            merged_items=self.merged_items + other.merged_items,
        )


@dataclass(frozen=True)
class Page:
    """Some records of the CRM, and where to go on after them (JSON; None: that was the last page)."""

    parsed: Parsed
    cursor: Cursor | None


class Unreadable(Exception):
    """A signed message that can never be understood as it is: kept, shown with this reason, replayable after a fix."""


def parse_object(body: bytes, topic: str, topics: Mapping[str, Callable[[Fields], Found]]) -> Parsed:
    """A body that is one JSON object, read by the reader of a topic that its header tells. Raises Unreadable."""
    try:
        data = Fields(load_object(body))
    except BadField as problem:
        raise Unreadable(str(problem)) from problem
    reader = topics.get(topic)
    return collect(topic, [(0, data)], reader) if reader else Parsed(topic, is_known=False)


def collect(topic: str, entries: Iterable[tuple[int, Entry]], read: Callable[[Entry], Found]) -> Parsed:
    """Every entry read on its own: a bad one is a rejection and spoils nothing else."""
    found: list[tuple[int, Found]] = []
    rejections = []
    for item, entry in entries:
        try:
            found.append((item, read(entry)))
        except BadField as problem:
            rejections.append(ItemRejection(item, str(problem)))
    return Parsed(
        topic,
        events=tuple(event for _item, told in found for event in told.events),
        event_items=tuple(item for item, told in found for _event in told.events),
        customers=tuple(customer for _item, told in found for customer in told.customers),
        customer_items=tuple(item for item, told in found for _customer in told.customers),
        rejections=tuple(rejections),
        privacy=tuple(request for _item, told in found for request in told.privacy),
        privacy_items=tuple(item for item, told in found for _request in told.privacy),
        thin=tuple(replace(thin, item=item) for item, told in found for thin in told.thin),
        shown=tuple(shown for _item, told in found for shown in told.shown),
        merged=tuple(merge for _item, told in found for merge in told.merged),
        merged_items=tuple(item for item, told in found for _merge in told.merged),
    )


def digest(*parts: bytes) -> str:
    """64 hex characters that differ when any part differs; lengths keep parts from running into each other."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:%b" % (len(part), part))
    return whole.hexdigest()


class Adapter(ABC):
    """One kind of CRM. Adapters hold no state and import no other adapter."""

    slug: ClassVar[str]
    label: ClassVar[str | Promise]
    uses_shop_ids: ClassVar[bool] = False  # True: its customer ids are the shop's own, not ids of the CRM
    needs: ClassVar[tuple[Need, ...]] = ()
    # What staff read in the wizard: one line on the card, and where the vendor shows its secret.
    blurb: ClassVar[str | Promise] = ""
    secret_hint: ClassVar[str | Promise] = ""
    scheme: ClassVar[Scheme | None] = None  # how it signs, as data: for test events and the scheme tester
    example: ClassVar[Example | None] = None
    # What staff read on the connection's page: where to click, and what to subscribe to.
    steps: ClassVar[tuple[str | Promise, ...]] = ()
    topics: ClassVar[tuple[str, ...]] = ()
    secret_is_theirs: ClassVar[bool] = False  # True: the vendor makes the secret, staff copy it here
    has_several_secrets: ClassVar[bool] = False  # True: a connection holds several, with spaces between
    signs_by_standard: ClassVar[bool] = False  # True: its secrets are those of Standard Webhooks (whsec_…)
    reads_envelopes: ClassVar[bool] = (
        False  # True: its messages are in the generic format of docs/webhooks.md
    )
    signs_topic: ClassVar[bool] = True  # False: the topic stands in a header alone, which anybody can change
    retries_are_identical: ClassVar[bool] = True  # False: the vendor counts its attempts in the body
    can_reconcile: ClassVar[bool] = False
    why_not_compared: ClassVar[str | Promise] = ""  # for staff, where that is worth a word
    pushing: ClassVar[PushKind | None] = None  # how its records hold values; None: they cannot be written to
    can_read_back: ClassVar[bool] = False

    def check_secret(self, secret: str) -> None:
        """Raise signatures.InvalidSecret unless the vendor's scheme can use `secret`."""
        for one in secret.split() if self.has_several_secrets else [secret]:
            if self.signs_by_standard:
                signatures.secret_key(one)
            else:
                signatures.check_text_secret(one)

    def new_secret(self) -> str:
        return signatures.generate_secret() if self.signs_by_standard else signatures.new_text_secret()

    def scheme_of(self, options: Mapping[str, Any]) -> Scheme | None:
        """How a connection with these options is signed to, None while that is not set up."""
        return self.scheme

    def clean_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options to keep. Raises BadField(sentence) for options that are each fine but not together."""
        return options

    def is_greeting(self, delivery: Delivery) -> bool:
        """Whether this is the unsigned hello of a vendor that wants exactly 200: it is answered and forgotten."""
        return False

    @abstractmethod
    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        """Return when the delivery is genuine and fresh; otherwise raise signatures.BadSignature. Touches no database.

        `secrets`: those valid now, the newest first (two during a rotation). `now`: seconds since 1970.
        """

    @abstractmethod
    def dedupe_key(self, delivery: Delivery) -> str:
        """What stays the same when the CRM sends this message again; at most 200 characters. Called after verify."""

    def topic(self, delivery: Delivery) -> str:
        """The topic where a header tells it and the body does not; kept with the message for `parse`."""
        return ""

    @abstractmethod
    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        """Turn a verified body into normal events and customers: pure, no database, no network.

        `message_key` is the dedupe key, for events that have no id of their own; `topic` what the method of that
        name said. A bad item is a rejection, an unknown topic is `is_known=False`; a body that is not understood
        at all raises Unreadable.
        """

    def hydrate(self, parsed: Parsed, connection: Connection) -> Parsed:
        """Fetch what a thin message only names. Called outside of any transaction; may raise http.DeliveryError."""
        return parsed

    def pages(
        self, connection: Connection, *, since: datetime, until: datetime, cursor: Cursor | None
    ) -> Iterator[Page]:
        """What changed at the CRM in that time, in pages, through the same reading as its messages.

        `cursor` is that of the last page that was stored, None to begin. Called outside of any transaction;
        may raise http.DeliveryError. Only for kinds with `can_reconcile`.
        """
        raise NotImplementedError

    def push(self, connection: Connection, writes: Sequence[Write], *, names: Names) -> Outcomes:
        """Write to the customers' records, at most `pushing.batch` of them; how each went, by `key`.

        Called outside of any transaction, and again with the same where an answer was lost: writing twice must change
        nothing. Raises http.DeliveryError when no write is known to have arrived (permanent: somebody must change the
        connection first). Only for kinds with `pushing`.
        """
        raise NotImplementedError

    def probe(self, connection: Connection, *, names: Names) -> None:
        """Ask the vendor for something small, to see that address and credentials fit. Raises http.DeliveryError."""
        raise NotImplementedError

    def read_back(
        self, connection: Connection, references: Sequence[str], *, names: Names
    ) -> Mapping[str, Values]:
        """What these records hold under our names; a record that is gone is left out. May raise http.DeliveryError.

        At most `pushing.batch` of them. Only for kinds with `can_read_back`.
        """
        raise NotImplementedError

    def deliver(self, message: OutboundMessage, *, secrets: Sequence[str], now: int) -> http.Answer:
        """Hand a message to the connection's own address, once: a Standard Webhooks delivery.

        Called outside of any transaction; raises http.DeliveryError.
        """
        body = bytes(message.body)
        signed = signatures.headers(secrets, message_id=message.message_id, timestamp=now, body=body)
        return http.post(
            message.connection.outbound_url,
            body=body,
            headers={**signed, "Content-Type": "application/json"},
        )
