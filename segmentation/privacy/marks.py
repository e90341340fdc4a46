"""Finding a person in texts: their ids, addresses and full name, as whole words, however they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from segmentation.privacy.subjects import Subject

# A shorter id stands for any number in a text; only who knows the fields of a message can tell.
LEAST_LETTERS = 4
GONE = "…"


class Marks:
    """What names a person, ready to be looked for."""

    def __init__(self, subject: Subject) -> None:
        ids = [value for _namespace, value in subject.ids]
        words = {word.strip() for word in (*ids, *subject.emails, *subject.phones, *subject.names)}
        self.words = sorted((word for word in words if len(word) >= LEAST_LETTERS), key=len, reverse=True)
        options = "|".join(re.escape(word) for word in self.words)
        self._pattern = re.compile(rf"(?<!\w)(?:{options})(?!\w)", re.IGNORECASE) if options else None

    def in_text(self, text: str) -> bool:
        return self._pattern is not None and self._pattern.search(text) is not None

    def in_json(self, content: Any) -> bool:
        """Whether any text, number or key of a JSON value names the person."""
        return any(self.in_text(text) for text in texts_of(content))

    def scrubbed(self, text: str) -> str:
        return self._pattern.sub(GONE, text) if self._pattern is not None else text


def texts_of(content: Any) -> Iterator[str]:
    """Every key, text and number of a JSON value, as text. Depth is bounded by the JSON reader."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from texts_of(value)
    elif isinstance(content, list):
        for value in content:
            yield from texts_of(value)
    elif isinstance(content, str | int | float) and not isinstance(content, bool):
        yield str(content)
