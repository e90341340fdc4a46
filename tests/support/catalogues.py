"""Message catalogues read without GNU gettext: the .po that people edit and the .mo that Django loads."""

from __future__ import annotations

import ast
import gettext
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOCALE = Path(__file__).resolve().parents[2] / "locale"
PLACEHOLDER = re.compile(r"%\(\w+\)[-+ #0]*\d*(?:\.\d+)?[a-z]|%%|\{\w+\}")
_LINE = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d+)\])? )?(".*")')
_MO_CONTEXT = "\x04"


@dataclass(slots=True)
class Message:
    """One sentence of a catalogue; `texts` holds its translation, one for each plural form."""

    context: str = ""
    source: str = ""
    plural: str = ""
    texts: dict[int, str] = field(default_factory=dict)
    is_guess: bool = False

    @property
    def is_translated(self) -> bool:
        """A guess that gettext took from a similar sentence (fuzzy) is not compiled and does not count."""
        return bool(self.texts) and all(self.texts.values()) and not self.is_guess

    def differing_placeholders(self) -> list[str]:
        """What a translation lacks or adds. A form may leave out a number that the other form leaves out too."""
        wanted = Counter(PLACEHOLDER.findall(self.plural or self.source))
        spare = wanted - Counter(PLACEHOLDER.findall(self.source))
        found = [Counter(PLACEHOLDER.findall(text)) for text in self.texts.values()]
        return sorted({p for have in found for p in ((wanted - spare) - have) + (have - wanted)})


def sources() -> list[Path]:
    return sorted(LOCALE.glob("*/LC_MESSAGES/*.po"))


def read(path: Path) -> list[Message]:
    """Every message of a .po without its header; commented-out ones are left out."""
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    return [message for message in map(_message, blocks) if message.source]


def _message(block: str) -> Message:
    message, part, form = Message(), "", 0
    for line in block.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            message.is_guess |= line.startswith("#,") and "fuzzy" in line
            continue
        part, form = (found[1], int(found[2] or 0)) if found[1] else (part, form)
        _append(message, part, form, ast.literal_eval(found[3]))
    return message


def _append(message: Message, part: str, form: int, text: str) -> None:
    if part == "msgstr":
        message.texts[form] = message.texts.get(form, "") + text
    elif part == "msgctxt":
        message.context += text
    elif part == "msgid":
        message.source += text
    elif part == "msgid_plural":
        message.plural += text


def is_compiled(path: Path) -> bool:
    """Whether the .mo beside a .po says exactly what the .po says."""
    compiled = path.with_suffix(".mo")
    if not compiled.is_file():
        return False
    with compiled.open("rb") as file:
        held = dict(gettext.GNUTranslations(file)._catalog)
    held.pop("", None)
    return held == dict(_compiled(read(path)))


def _compiled(messages: list[Message]) -> Iterator[tuple[str | tuple[str, int], str]]:
    for message in messages:
        key = f"{message.context}{_MO_CONTEXT}{message.source}" if message.context else message.source
        if message.is_translated and message.plural:
            yield from (((key, form), text) for form, text in message.texts.items())
        elif message.is_translated:
            yield key, message.texts[0]
