"""Doors with one of their rules broken, so that an attack must succeed: who finds nothing then finds nothing ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from unittest.mock import patch


@contextmanager
def signs_what_was_parsed() -> Iterator[None]:
    """A signature is compared over the JSON that was read, not over the bytes that came."""
    from crm_integration import signatures

    real = signatures._signature

    def lenient(key: bytes, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
        with suppress(ValueError):
            body = json.dumps(json.loads(body)).encode()
        return real(key, message_id, timestamp, body)

    with patch("crm_integration.signatures._signature", lenient):
        yield


@contextmanager
def looks_at_names_alone() -> Iterator[None]:
    """The address of a delivery is judged by its text; what the name resolves to is nobody's business."""
    from requests.adapters import HTTPAdapter

    with ExitStack() as stack:
        stack.enter_context(
            patch(
                "crm_integration.addresses._is_private_literal",
                lambda host: host in {"localhost", "127.0.0.1"},
            )
        )
        stack.enter_context(patch("crm_integration.http._GuardedAdapter", lambda deadline: HTTPAdapter()))
        yield


@contextmanager
def trusts_what_it_keeps() -> Iterator[None]:
    """A connection that was read once counts for ever, whatever is changed about it."""
    from crm_integration import receiving, storing

    real = storing.store_once
    look_up = receiving.look_up
    receiving._kept.clear()  # of other tests
    with ExitStack() as stack:
        stack.enter_context(
            patch("crm_integration.storing.store_once", lambda given, *, stamp=None: real(given))
        )
        stack.enter_context(
            patch("crm_integration.receiving.look_up", lambda slug: receiving.kept(slug) or look_up(slug))
        )
        yield
