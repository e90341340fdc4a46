"""Who else holds something about customers: registered by settings, because the domain imports nothing above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from django.conf import settings
from django.db import models
from django.utils.module_loading import import_string

from segmentation.privacy.subjects import Subject


class Holder(Protocol):
    """An object that settings.PRIVACY_HOLDERS names by its dotted path.

    `models`: its models whose rows belong to a customer, by whatever chain of foreign keys.
    """

    name: str
    models: tuple[type[models.Model], ...]

    def held(self, subject: Subject) -> Mapping[str, int]:
        """How much it holds, by what staff call it, as far as that is quick to tell."""

    def export(self, subject: Subject) -> Mapping[str, Any]:
        """What it holds, readable and JSON-able."""

    def erase(self, subject: Subject) -> Mapping[str, int]:
        """Forget the person and count what went, by name. Called outside any transaction; doing it twice is fine."""


def registered() -> list[Holder]:
    return [import_string(path) for path in settings.PRIVACY_HOLDERS]
