"""What a topic is about, in the words of the newest text model; kept for a moment, since every page of rules asks."""

from __future__ import annotations

import time
from typing import Final

from django.conf import settings
from django.utils.translation import gettext as _

from segmentation.models import TextModel

SECONDS: Final = 0.0 if settings.TESTING else 30.0
_kept: tuple[float, dict[int, str]] | None = None


def said(number: int) -> str:
    """“delivery, late, courier”; the number alone where no model has named it."""
    words = _names().get(number)
    return _("“%(words)s”") % {"words": words} if words else _("topic %(number)s") % {"number": number}


def _names() -> dict[int, str]:
    global _kept
    now = time.monotonic()
    if _kept is None or now - _kept[0] >= SECONDS:
        about = TextModel.objects.order_by("-as_of").values_list("about", flat=True).first() or {}
        names = {
            topic["number"]: ", ".join(topic["words"]) for topic in about.get("topics", ()) if topic["words"]
        }
        _kept = (now, names)
    return _kept[1]
