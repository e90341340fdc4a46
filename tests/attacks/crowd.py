"""Many senders at once: every event told five times in any order, and secrets that are replaced while messages come."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from django.db import connection as database

from tests.attacks.doors import post
from tests.crm_integration import fixtures

COPIES = 5
AT_ONCE = 16
ROTATIONS = 3


@dataclass
class Copies:
    events: int
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    stored: int = 0
    recorded: int = 0

    @property
    def is_good(self) -> bool:
        return not self.refused and self.stored == self.recorded == self.events


def copies(events: int, seed: int) -> Copies:
    """Each order under one message id, five times, shuffled, by sixteen senders; then the worker's turn."""
    from crm_integration import inbox
    from crm_integration.models import InboundMessage
    from segmentation.models import Event

    row, result = fixtures.connection("crowd"), Copies(events)
    bodies = [json.dumps(fixtures.order(f"crowd-{n}", f"crowd-c-{n % 97}")).encode() for n in range(events)]
    order = [number for number in range(events) for _copy in range(COPIES)]
    Random(seed).shuffle(order)
    lock = threading.Lock()

    def send(part: list[int]) -> None:
        try:
            for number in part:
                headers = fixtures.signed_headers(
                    row.inbound_secret, bodies[number], message_id=f"crowd_{number}"
                )
                status, _content = post(row.slug, bodies[number], headers)
                with lock:
                    result.sent += 1
                    if status not in {200, 202}:
                        result.refused.append(f"{number}: {status}")
        finally:
            database.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(send, [order[start::AT_ONCE] for start in range(AT_ONCE)]))
    mine = InboundMessage.objects.filter(connection=row)
    result.stored = mine.count()
    while mine.exclude(state="done").exists():
        inbox.process_due()
    result.recorded = Event.objects.filter(source__slug=row.slug).count()
    return result


@dataclass
class Rotations:
    sent: int = 0
    refused: list[str] = field(default_factory=list)  # signed by a secret that counted
    accepted: list[str] = field(default_factory=list)  # signed by one that no longer did

    @property
    def is_good(self) -> bool:
        return self.sent > 0 and not self.refused and not self.accepted


def rotations(seconds: float) -> Rotations:
    """Three rotations while four senders go on with whichever secret they have: the new one, or the one before it."""
    from crm_integration import connections
    from crm_integration.connections import Door

    row, result, lock, over = fixtures.connection("turning"), Rotations(), threading.Lock(), threading.Event()
    secrets = [row.inbound_secret]

    def send(sender: int) -> None:
        number = 0
        try:
            while not over.is_set():
                number += 1
                # One of the senders learns of each rotation late: the day of grace is for it.
                held = secrets[-1] if sender or len(secrets) < 2 else secrets[-2]
                status = _told(row, held, f"turn_{sender}_{number}")
                with lock:
                    result.sent += 1
                    # Rotated once more meanwhile: then it may have been too late.
                    if status != 202 and held in secrets[-2:]:
                        result.refused.append(f"{sender}/{number}: {status}")
        finally:
            database.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _turn in range(ROTATIONS):
            time.sleep(seconds / (ROTATIONS + 1))
            with lock:
                secrets.append(connections.set_secret(row, Door.INBOUND))
        time.sleep(seconds / (ROTATIONS + 1))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    result.accepted += [
        f"replaced {old}" for old in range(ROTATIONS - 1) if _told(row, secrets[old], f"old_{old}") != 401
    ]
    connections.end_grace(row, Door.INBOUND)
    result.accepted += ["after the grace"] if _told(row, secrets[-2], "after") != 401 else []
    return result


def _told(row, secret: str, message_id: str) -> int:
    body = json.dumps(fixtures.order(message_id)).encode()
    status, _content = post(row.slug, body, fixtures.signed_headers(secret, body, message_id=message_id))
    return status
