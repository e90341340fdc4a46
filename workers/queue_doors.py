"""What the consumer and the brokers say to each other: a letter goes in, a verdict comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from crm_integration.queue_door import Letter

# Of a message that is set aside: why. The broker's own `x-death` says so where no consumer lived to look at it.
REASON_HEADER = "tierwise-refused"
# Seconds since 1970.
SINCE_HEADER = "tierwise-refused-at"
# Set aside means kept for staff, not for ever: bodies hold personal data, and webhooks' bodies go after 30 days too.
PARKED_DAYS = 30
PARKED_MOST = 10_000


@dataclass(frozen=True)
class Verdict:
    """Acknowledge the message; or set it aside for a reason; or give it back."""

    parked_because: str = ""
    is_returned: bool = False


TAKEN = Verdict()
RETURNED = Verdict(is_returned=True)


def parked(reason: str) -> Verdict:
    return Verdict(parked_because=reason)


# (connection id, letter or None for what is no message at all) → verdict, once it is committed.
Take = Callable[[int, Letter | None], Verdict]


@dataclass(frozen=True)
class Depth:
    waiting: int
    parked: int


class Doors(Protocol):
    """The queues of one broker. Messages that were taken and got no verdict come again when it closes or dies."""

    errors: tuple[type[BaseException], ...]

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def follow(self, queues: Mapping[int, str]) -> Mapping[int, str]:
        """Read these queues (connection id → name) and no others; returns what is wrong, by connection id."""

    def drain(self, seconds: float) -> None:
        """Hand what waits to the taker; returns after about `seconds`, and soon when a message was handled."""

    def depth(self, connection_id: int) -> Depth: ...
