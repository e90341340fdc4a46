"""A message that tells of somebody who was erased, come late or replayed: it is not kept once it was looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.utils.translation import gettext as _

from crm_integration.models import InboundMessage
from crm_integration.privacy import texts_in, without_words
from segmentation import identities, tombstones

_WORDS = re.compile(r"[^\w@.+-]+")
_SEPARATOR = re.compile(r"[\W_]")
MOST_PIECES = 20
Outcome = InboundMessage.Outcome
# What these said was understood and stored, and who it was about was asked for by name.
_UNDERSTOOD = {Outcome.RECORDED, Outcome.NOTHING_NEW}


def forget_if_named(message: InboundMessage) -> None:
    """Empty the body of a message that is over when it tells of an erased person; its counts stay.

    Where nothing of it was understood (or not all), every text in it is compared with the tombstones.
    """
    if message.body is None:
        return
    left_out = bool(message.detail.get("erased"))
    if left_out or (message.outcome not in _UNDERSTOOD and _names(message, texts_in(bytes(message.body)))):
        _forget(message)


def _forget(message: InboundMessage) -> None:
    message.body, message.headers = None, {}
    message.detail = without_words(message.detail)
    message.topic = "" if _names(message, _spans(message.topic)) else message.topic
    if _names(message, _spans(message.dedupe_key)):
        message.dedupe_key = f"erased-{message.pk}"
    if message.error:
        message.error = _("It told of somebody who was erased, so its body is no longer kept.")
    message.save(update_fields=["body", "headers", "detail", "topic", "dedupe_key", "error"])


def _spans(text: str) -> set[str]:
    """Whatever stands between two separators of an id such as “customer-4711-updated”."""
    starts = [0, *(found.end() for found in _SEPARATOR.finditer(text))][:MOST_PIECES]
    ends = [*(found.start() for found in _SEPARATOR.finditer(text)), len(text)][:MOST_PIECES]
    return {text[start:end] for start in starts for end in ends if start < end} | {text}


def _names(message: InboundMessage, texts: Iterable[str]) -> bool:
    found = {word for text in texts for word in (text, *_WORDS.split(text))}
    return any(
        tombstones.names_somebody(found, namespace=namespace)
        for namespace in (identities.SHOP, message.connection.slug)
    )
