"""A rule that cannot be used, and the helpers that say where and why."""

from __future__ import annotations

from typing import NoReturn

from django.utils.translation import gettext as _


class RuleError(Exception):
    """A rule that cannot be used; `path` names the node ("all[1].value"), "" the whole rule."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}" if path else message)


def refuse(path: str, message: str, **words: object) -> NoReturn:
    raise RuleError(path, message % words)


def join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def kind_of(data: object) -> str:
    """The found value in a few words, never a long text in full."""
    if data is None:
        return _("nothing")
    if isinstance(data, dict):
        return _("an object")
    if isinstance(data, list | tuple):
        return _("a list")
    text = str(data)
    return f"“{text[:40]}…”" if len(text) > 40 else f"“{text}”"
