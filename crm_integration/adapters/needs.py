"""What staff must tell us before a kind of CRM can be used. The form of a connection is built from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.utils.functional import Promise


class Field(StrEnum):
    TEXT = "text"
    HOST = "host"
    ADDRESS = "address"
    CHOICE = "choice"
    NUMBER = "number"
    SECRET = "secret"  # noqa: S105


@dataclass(frozen=True)
class Need:
    """One entry of the form. SECRET values are encrypted and never shown; the others are kept readable."""

    name: str
    label: str | Promise
    hint: str | Promise = ""
    field: Field = Field.TEXT
    choices: tuple[str, ...] = ()
    required: bool = False
    default: str = ""
    pattern: str = ""
    least: int = 0
    most: int = 200

    @property
    def is_secret(self) -> bool:
        return self.field is Field.SECRET
