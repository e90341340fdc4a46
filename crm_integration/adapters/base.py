"""What a CRM must be able to do to be connected (see ADDING_A_CRM.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from django.utils.functional import Promise

from crm_integration.http import Answer
from crm_integration.models import Connection, OutboundMessage
from segmentation.normal import NormalCustomer, NormalEvent


@dataclass(frozen=True)
class Delivery:
    """A request as it came. Header names are lower-case; values are the bytes that were sent."""

    body: bytes
    headers: Mapping[str, bytes]


@dataclass(frozen=True)
class ItemRejection:
    """`item` counts from 0 within the message."""

    item: int
    reason: str


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


class Unreadable(Exception):
    """A signed message that can never be understood as it is: kept, shown with this reason, replayable after a fix."""


class Adapter(ABC):
    """One kind of CRM. Adapters hold no state and import no other adapter."""

    slug: ClassVar[str]
    label: ClassVar[str | Promise]
    uses_shop_ids: ClassVar[bool] = False  # True: its customer ids are the shop's own, not ids of the CRM

    @abstractmethod
    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        """Return when the delivery is genuine and fresh; otherwise raise signatures.BadSignature. Touches no database.

        `secrets`: those valid now, the newest first (two during a rotation). `now`: seconds since 1970.
        """

    @abstractmethod
    def dedupe_key(self, delivery: Delivery) -> str:
        """What stays the same when the CRM sends this message again; at most 200 characters. Called after verify."""

    @abstractmethod
    def parse(self, body: bytes, *, message_key: str) -> Parsed:
        """Turn a verified body into normal events and customers: pure, no database, no network.

        `message_key` is the dedupe key, for events that have no id of their own. A bad item is a rejection,
        an unknown topic is `is_known=False`; a body that is not understood at all raises Unreadable.
        """

    def hydrate(self, parsed: Parsed, connection: Connection) -> Parsed:
        """Fetch what a thin message only names. Called outside of any transaction; may raise http.DeliveryError."""
        return parsed

    @abstractmethod
    def push(self, message: OutboundMessage, *, secrets: Sequence[str], now: int) -> Answer:
        """Hand a message to the CRM, once. Called outside of any transaction; raises http.DeliveryError."""
