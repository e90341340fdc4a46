"""What the shop was told at the door while something was broken, and whether that is what was promised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PROMPT_SECONDS = 5.0  # of an answer while the database is away


@dataclass(frozen=True)
class Answer:
    """status: 0 where none came. may_return: whether the sender is told when to come back."""

    status: int
    seconds: float
    may_return: bool = False

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Promise:
    """What holds at the door during a fault. refuses: it may ask to come back later. seconds: within which it answers."""

    refuses: bool = False
    seconds: float | None = None

    def broken_by(self, answers: Sequence[Answer]) -> Iterator[str]:
        for status, count in Counter(answer.status for answer in answers if not self._keeps(answer)).items():
            yield f"{count} × the door answered {status or 'nothing'}"
        slowest = max((answer.seconds for answer in answers), default=0.0)
        if self.seconds is not None and slowest > self.seconds:
            yield f"the door kept somebody waiting for {slowest:.1f} s"

    def _keeps(self, answer: Answer) -> bool:
        return answer.is_accepted or (self.refuses and answer.status == 503 and answer.may_return)
