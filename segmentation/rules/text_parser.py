"""From the text of a rule to its JSON: recursive descent over a handful of tokens.

rule      = or-part {"or" or-part} ; or-part = and-part {"and" and-part}
and-part  = "not" and-part | ("all"|"any"|"none") "(" rule {"," rule} ")" | "(" rule ")" | condition
condition = ["not"] "in" segment | (field | measure "of" kinds [filters]) words [value]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from django.utils.translation import gettext as _

from segmentation.rules.errors import RuleError

MAX_TEXT: Final = 100_000
MAX_DEPTH: Final = 60
NAME: Final = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)+", re.ASCII)
TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    | (?P<day>\d{4}-\d{2}-\d{2})
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?%?)
    | (?P<text>"(?:[^"\\\n]|\\.)*")
    | (?P<quoted>`[^`\n]*`)
    | (?P<sign>>=|<=|!=|=|>|<)
    | (?P<mark>[(),])
    | (?P<word>[A-Za-z_][\w.-]*)""",
    re.VERBOSE | re.ASCII,
)
STOPS: Final = frozenset({"true", "false", "and", "or"})
GROUPS: Final = ("all", "any", "none")


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int
    column: int


class Parser:
    """`rule` gives the JSON of the whole text. Raises RuleError with line and column."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise RuleError("", _("The text is longer than %(most)d characters.") % {"most": MAX_TEXT})
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0
        self._places: dict[int, Token] = {}

    def rule(self) -> dict[str, Any]:
        data = self._either()
        if self._peek().kind != "end":
            self._fail(_("Expected the end of the rule, found “%(found)s”."))
        return data

    def place_of(self, data: Any, path: str) -> str:
        """Line and column of the condition or group that a path of the JSON leads to."""
        found = self._places.get(id(data))
        for step in re.findall(r"[a-z_]+|\d+", path):
            if isinstance(data, dict) and step in data:
                data = data[step]
            elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
                data = data[int(step)]
            else:
                break
            found = self._places.get(id(data), found)
        return _place(found or self._tokens[0])

    # --- rules
    def _either(self) -> dict[str, Any]:
        return self._joined("or", "any", self._both)

    def _both(self) -> dict[str, Any]:
        return self._joined("and", "all", self._one)

    def _joined(self, word: str, kind: str, part: Any) -> dict[str, Any]:
        start = self._peek()
        parts = [part()]
        while self._take_word(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else self._placed({kind: parts}, start)

    def _one(self) -> dict[str, Any]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(_("The rule is nested too deep; split it into segments."))
        start = self._peek()
        if start.text in GROUPS and self._peek(1).text == "(":
            data = self._group(start)
        elif start.text == "not" and self._peek(1).text != "in":
            self._advance()
            data = self._placed({"none": [self._one()]}, start)
        elif self._take("("):
            data = self._either()
            self._expect(")")
        else:
            data = self._condition(start)
        self._depth -= 1
        return data

    def _group(self, start: Token) -> dict[str, Any]:
        self._advance()
        self._expect("(")
        children: list[Any] = []
        while not self._take(")"):
            children.append(self._either())
            if not self._take(","):
                self._expect(")")
                break
        return self._placed({start.text: children}, start)

    # --- conditions
    def _condition(self, start: Token) -> dict[str, Any]:
        if start.text in ("in", "not"):
            op = "_".join(self._words())
            return self._placed({"field": self._name(), "op": op}, start)
        data: dict[str, Any] = {}
        if self._peek(1).text == "of":
            data["event"] = self._event()
        else:
            data["field"] = self._name()
        data["op"], takes = self._operator()
        if takes:
            data["value"] = self._value(data["op"])
            if self._take_word("days"):
                data["op"] += "_days"
        return self._placed(data, start)

    def _operator(self) -> tuple[str, bool]:
        """Its name, and whether a value follows."""
        if self._peek().kind == "sign":
            return self._advance().text, True
        words = self._words()
        if not words:
            self._fail(_("Expected a comparison such as “is” or “>=”, found “%(found)s”."))
        op = "_".join(words)
        follows = self._peek()
        return op, follows.kind in ("number", "text", "day") or follows.text in ("true", "false", "(")

    def _words(self) -> list[str]:
        words: list[str] = []
        while (token := self._peek()).kind == "word" and "." not in token.text:
            # "on or before" is one comparison, "is empty or …" is two conditions.
            if token.text in STOPS and not (token.text == "or" and words == ["on"]):
                break
            words.append(self._advance().text)
        return words

    def _value(self, op: str) -> Any:
        if self._take("("):
            values = [self._scalar()]
            while self._take(","):
                values.append(self._scalar())
            self._expect(")")
            return values
        value = self._scalar()
        if op.endswith("between"):
            if not self._take_word("and"):
                self._fail(_("Expected “and” and the upper value, found “%(found)s”."))
            return [value, self._scalar()]
        return value

    def _scalar(self) -> Any:
        token = self._peek()
        if token.kind == "text":
            return _unquoted(self._advance())
        if token.kind == "day":
            return self._advance().text
        if token.kind == "number":
            return _number(self._advance())
        if token.text in ("true", "false"):
            return self._advance().text == "true"
        return self._fail(_("Expected a value, found “%(found)s”."))

    def _name(self) -> str:
        token = self._peek()
        if token.kind == "quoted":
            return self._advance().text[1:-1]
        if token.kind == "word":
            return self._advance().text
        return self._fail(_("Expected the name of a field, found “%(found)s”."))

    # --- events
    def _event(self) -> dict[str, Any]:
        start = self._advance()
        self._advance()
        event: dict[str, Any] = {"kind": self._kinds(), "measure": start.text}
        self._filters(event)
        return self._placed(event, start)

    def _kinds(self) -> list[str]:
        kinds = [self._kind()]
        while self._take_word("or"):
            kinds.append(self._kind())
        return kinds

    def _kind(self) -> str:
        if self._peek().kind != "word":
            self._fail(_("Expected what the customer did, such as order_placed, found “%(found)s”."))
        return self._advance().text

    def _filters(self, event: dict[str, Any]) -> None:
        if self._take("("):
            self._list_of(self._filter, event)

    def _list_of(self, part: Callable[[dict[str, Any]], None], into: dict[str, Any]) -> None:
        """Parts between commas, up to the closing bracket."""
        while True:
            part(into)
            if not self._take(","):
                self._expect(")")
                return

    def _filter(self, event: dict[str, Any]) -> None:
        words = self._filter_words()
        value: Any
        key, rest = words[0], tuple(words[1:])
        if words[-2:] == ["followed", "by"]:
            follower: dict[str, Any] = {"kind": self._kinds()}
            self._filters(follower)
            key, value = "_".join(words), follower
        elif words == ["category", "in"]:
            value = self._value("in")
        elif key in ("amount", "rating") and not rest:
            value = {"op": self._advance().text, "value": self._scalar()}
        elif words == ["product"]:
            value = {}
            self._expect("(")
            self._list_of(self._product_filter, value)
        elif words in (["discounted"], ["not", "discounted"]):
            key, value = "discounted", len(words) == 1
        elif words in (["within"], ["older", "than"]):
            key, value = "_".join([*words, "days"]), self._scalar()
            self._take_word("days")
        elif words in (["from"], ["to"]):
            value = self._scalar()
        else:
            self._fail(_("Events have no filter “%(words)s”."), words=" ".join(words))
        self._put(event, key, value, words)

    def _product_filter(self, product: dict[str, Any]) -> None:
        words = self._filter_words()
        key, op = words[0], "_".join(words[1:])
        if words in (["id", "in"], ["category", "in"]):
            self._put(product, key, self._value("in"), words)
        elif key == "name" and op:
            self._put(product, key, {"op": op, "value": self._scalar()}, words)
        elif key in ("price", "quantity") and not op:
            self._put(product, key, {"op": self._advance().text, "value": self._scalar()}, words)
        else:
            self._fail(_("Products have no filter “%(words)s”."), words=" ".join(words))

    def _put(self, into: dict[str, Any], key: str, value: Any, words: list[str]) -> None:
        if key in into:
            self._fail(_("“%(words)s” stands here twice."), words=" ".join(words))
        into[key] = value

    def _filter_words(self) -> list[str]:
        words: list[str] = []
        while self._peek().kind == "word" and words[-2:] != ["followed", "by"]:
            words.append(self._advance().text)
        if not words:
            self._fail(_("Expected a filter such as “within 30 days”, found “%(found)s”."))
        return words

    # --- tokens
    def _peek(self, ahead: int = 0) -> Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _advance(self) -> Token:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _take(self, mark: str) -> bool:
        taken = self._peek().kind == "mark" and self._peek().text == mark
        if taken:
            self._advance()
        return taken

    def _take_word(self, word: str) -> bool:
        taken = self._peek().kind == "word" and self._peek().text == word
        if taken:
            self._advance()
        return taken

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            self._fail(_("Expected “%(mark)s”, found “%(found)s”."), mark=mark)

    def _placed(self, data: dict[str, Any], start: Token) -> dict[str, Any]:
        self._places[id(data)] = start
        return data

    def _fail(self, message: str, **words: object) -> NoReturn:
        token = self._peek()
        found = token.text[:40] or _("the end")
        raise RuleError("", f"{_place(token)}: {message % {'found': found, **words}}")


def _tokens(text: str) -> list[Token]:
    tokens, at, line, start = [], 0, 1, 0
    while at < len(text):
        match = TOKEN.match(text, at)
        here = Token("", text[at], line, at - start + 1)
        if match is None:
            raise RuleError(
                "", f"{_place(here)}: " + _("“%(found)s” means nothing here.") % {"found": here.text}
            )
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match.group(), line, here.column))
        if breaks := match.group().count("\n"):
            line, start = line + breaks, at + match.group().rindex("\n") + 1
        at = match.end()
    return [*tokens, Token("end", "", line, at - start + 1)]


def _place(token: Token) -> str:
    return _("Line %(line)d, column %(column)d") % {"line": token.line, "column": token.column}


def _unquoted(token: Token) -> str:
    try:
        return str(json.loads(token.text))
    except ValueError:
        raise RuleError(
            "", f"{_place(token)}: " + _("The text has a backslash that means nothing.")
        ) from None


def _number(token: Token) -> float | int:
    """65% is 0.65."""
    if token.text.endswith("%"):
        return float(token.text[:-1]) / 100
    value = float(token.text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
