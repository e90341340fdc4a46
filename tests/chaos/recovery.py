"""How long a fault was felt: from its end until what it interrupted goes on, and what was accepted is delivered.

That is not the same as the end of all work: a run that began again takes its time, and so do new processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.journals import Journal
from tests.chaos.oracle import OPEN
from tests.chaos.servers import Database

# Work that can be seen to go on: the column that moves while it does.
MOVING = {
    "import": ("segmentation_importrun", "progress"),
    "training": ("segmentation_trainingrun", "progress"),
    "part of a classification": ("segmentation_scoringshard", "scored"),
}
Place = tuple[str, int]


def under_way(database: Database) -> dict[Place, tuple[Any, ...]]:
    """Every run and part in its middle: how far it is, and under which claim."""
    found = {}
    for name, (table, moves) in MOVING.items():
        for key, *stand in database.rows(
            f"SELECT id, state, fence, {moves} FROM {table} WHERE state IN {OPEN} AND fence > 0"
        ):
            found[name, key] = tuple(stand)
    return found


@dataclass
class Recovery:
    """Made at the end of the fault; `look` until `is_over`. Seconds, and None while it is not so yet.

    going: every run that was under way at the strike has moved since, or is over.
    decided: every message that was accepted before the end is worked in, and its customer's decision delivered.
    """

    database: Database
    interrupted: set[Place]
    messages: list[dict[str, Any]]  # accepted before the end of the fault
    going: float | None = None
    decided: float | None = None
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        stand = under_way(self.database)
        self._stand = {place: stand.get(place) for place in self.interrupted}

    @property
    def is_over(self) -> bool:
        return self.going is not None and self.decided is not None

    @property
    def seconds(self) -> float | None:
        """Until both were so."""
        return max(self.going or 0.0, self.decided or 0.0) if self.is_over else None

    def look(self) -> bool:
        """Whether it is over."""
        if self.going is None and not self._waiting():
            self.going = time.monotonic() - self._began
        if self.decided is None and not next(self._undecided(), None):
            self.decided = time.monotonic() - self._began
        return self.is_over

    def missing(self) -> list[str]:
        """What has not recovered, in words."""
        return [*(f"{name} {key} stands still" for name, key in self._waiting()), *self._undecided()]

    def _waiting(self) -> list[Place]:
        if not self._stand:
            return []
        now = under_way(self.database)
        return [place for place, stood in self._stand.items() if place in now and now[place] == stood]

    def _undecided(self) -> Iterator[str]:
        """In the order in which one leads to the next, each written with the end of the one before."""
        if not self.messages:
            return
        keys = _listed(message["message_id"] for message in self.messages)
        people = f"SELECT id FROM segmentation_customer WHERE reference IN {_listed(m['customer'] for m in self.messages)}"
        for what, table, chosen in (
            ("message", "crm_integration_inboundmessage", f"dedupe_key IN {keys}"),
            ("rescore", "segmentation_duecustomer", f"customer_id IN ({people})"),
            ("delivery", "crm_integration_outboundmessage", f"customer_id IN ({people})"),
        ):
            left = self.database.rows(f"SELECT count(*) FROM {table} WHERE {chosen} AND state IN {OPEN}")[0][
                0
            ]
            if left:
                yield f"{left} × {what} not done"


def ends(database: Database, places: set[Place]) -> dict[str, str]:
    """How each of these ended, with its reason if it failed."""
    found = {}
    for name, key in sorted(places):
        for state, error in database.rows(f"SELECT state, error FROM {MOVING[name][0]} WHERE id = {key}"):
            found[f"{name} {key}"] = f"{state} {error}".strip()
    return found


def accepted_before(journal: Journal, place: int, moment: float) -> list[dict[str, Any]]:
    """Messages of the journal after `place` that were accepted by `moment` (time.time())."""
    return [entry for entry in journal.since(place) if entry["accepted"] <= moment]


def _listed(values: Any) -> str:
    """For SQL: identifiers that the harness made itself."""
    return "(" + ", ".join(sorted({f"'{value}'" for value in values})) + ")"
