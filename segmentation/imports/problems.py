"""What can be wrong with a file or a mapping, told in sentences."""

from __future__ import annotations

from dataclasses import dataclass


class ImportProblem(Exception):
    """The file or the mapping cannot be used; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Reject:
    """One line that could not be imported."""

    line: int
    reason: str
    content: str = ""
