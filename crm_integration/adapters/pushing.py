"""Writing to a vendor's records: what a kind can hold, what is to be written, and how each write went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.utils.translation import gettext as _

from crm_integration.http import DeliveryError

# What we tell about a customer, each under a name that staff choose (what they mean: crm_integration/pushed_values.py).
OUTPUTS = (
    "tier",
    "segments",
    "churn",
    "value",
    "offer",
    "offer_text",
    "offer_code",
    "offer_until",
    "campaign",
    "priority",
)


@dataclass(frozen=True)
class PushKind:
    """How the records of a vendor hold values. `batch`: customers in one attempt.

    `with_units`: numbers are written as words (“82 %”), for a vendor that loses some numbers.
    `in_camel_case`: a field's name has no underscores (“prefixOfferText”).
    """

    batch: int
    prefix: str = "tierwise_"
    name_pattern: str = r"[A-Za-z][A-Za-z0-9_]{0,62}"
    has_tags: bool = False
    longest_tag: int = 255
    has_namespace: bool = False
    joins_segments: bool = False
    with_units: bool = False
    in_camel_case: bool = False


@dataclass(frozen=True)
class Values:
    """What a record is to hold, or holds, of ours. An empty text is no value."""

    fields: Mapping[str, str] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Any]:
        return {
            "fields": dict(self.fields),
            "tags": sorted(self.tags),
            "segments": sorted(self.segments),
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Values:
        found = stored or {}
        tags, segments = (frozenset(found.get(name, ())) for name in ("tags", "segments"))
        return cls(dict(found.get("fields", {})), tags, segments)


@dataclass(frozen=True)
class Names:
    """Under which names a connection writes: output → field, the start of its tags, and a namespace. Empty: not at all."""

    fields: Mapping[str, str]
    tag_prefix: str = ""
    namespace: str = ""
    segments: bool = False

    @property
    def all_fields(self) -> list[str]:
        return [name for name in self.fields.values() if name]

    def own(self, tags: Iterable[str]) -> frozenset[str]:
        """Those of a record's tags that are ours."""
        if not self.tag_prefix:
            return frozenset()
        return frozenset(tag for tag in tags if tag.casefold().startswith(self.tag_prefix.casefold()))


@dataclass(frozen=True)
class Write:
    """What is to change in one customer's record. `key` names the message; an empty text clears a field."""

    key: int
    message_id: str
    reference: str
    fields: Mapping[str, str]
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    join: frozenset[str] = frozenset()
    leave: frozenset[str] = frozenset()
    values: Values = Values()
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes_record(self) -> bool:
        return bool(self.fields or self.add_tags or self.remove_tags)

    @property
    def is_empty(self) -> bool:
        return not (self.changes_record or self.join or self.leave)


class How(StrEnum):
    DONE = "done"
    LATER = "later"
    REFUSED = "refused"  # the vendor says no to these values: the same again would not help
    ABSENT = "absent"  # the vendor has no such record


@dataclass(frozen=True)
class Outcome:
    how: How
    reason: str = ""
    retry_after: timedelta | None = None


Outcomes = dict[int, Outcome]
DONE = Outcome(How.DONE)


def refused(reason: str) -> Outcome:
    return Outcome(How.REFUSED, _("The CRM refused: %(reason)s") % {"reason": printable(reason)})


def absent() -> Outcome:
    return Outcome(How.ABSENT, _("The CRM has no record of this customer any more."))


def printable(text: str, most: int = 160) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:most]


def parts(writes: Sequence[Write], size: int) -> Iterator[Sequence[Write]]:
    for start in range(0, len(writes), size):
        yield writes[start : start + size]


def in_parts(chunks: Iterable[Sequence[Write]], send: Callable[[Sequence[Write]], Outcomes]) -> Outcomes:
    """Send part by part. What fails on the way leaves the rest for later, and what was done stays done.

    Raises DeliveryError when nothing was done before it, or when somebody has to change the connection first.
    """
    outcomes: Outcomes = {}
    failure: DeliveryError | None = None
    for chunk in chunks:
        if failure is None:
            try:
                outcomes |= send(chunk)
            except DeliveryError as error:
                if error.permanent or not outcomes:
                    raise
                failure = error
        if failure is not None:
            later = Outcome(How.LATER, str(failure), failure.retry_after)
            outcomes |= {write.key: later for write in chunk}
    return outcomes
