"""makemessages that also reads `_t`, the admin's name for gettext where `_` is gettext_lazy."""

from __future__ import annotations

from django.core.management.commands import makemessages


class Command(makemessages.Command):
    xgettext_options: list[str] = [*makemessages.Command.xgettext_options, "--keyword=_t"]
