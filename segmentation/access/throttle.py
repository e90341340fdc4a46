"""Sign-in tries are counted before they are made, per account and per address, in the database that all processes share.

Nobody is locked out for good: every wait ends by itself (MOST_WAIT at the latest), a device that signed in before has
a count of its own, which strangers cannot use up (OWASP: device cookies), and `manage.py unlock_sign_in` ends waits.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.http import HttpRequest

from segmentation import crypto
from segmentation.models import SignInTries

FIRST_WAIT = timedelta(minutes=1)
MOST_WAIT = timedelta(minutes=15)
# Without a failure for this long the count begins anew.
FORGOTTEN_AFTER = timedelta(hours=2)
# Wrong tries before the first wait. From anywhere: one account or one address meets many people's slips.
OF_A_PAIR = 5
OF_AN_ACCOUNT = 30
OF_AN_ADDRESS = 30


@dataclass(frozen=True)
class Caller:
    """Who tries to be whom, from where; `device` is what a known device says about itself, else empty."""

    account: str
    address: str
    device: str = ""


@dataclass(frozen=True)
class Turn:
    """Whether a try may be made now, and what it would have been refused for."""

    wait_seconds: int = 0
    # This very try was the last before a wait.
    begins_wait: bool = False


@dataclass(frozen=True)
class _Count:
    key: str
    limit: int
    account: str = ""
    address: str = ""


def caller(request: HttpRequest, account: str, *, device: str = "") -> Caller:
    name = crypto.blind_index("sign-in account", account)
    return Caller(name, crypto.pseudonym("sign-in address", address_of(request)), device)


def address_of(request: HttpRequest) -> str:
    """The visitor's address; of IPv6 the network that one line gets. Behind proxies the last that they wrote down."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.SIGN_IN_PROXIES:
        written = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
        # Whatever stands further left was sent by the visitor, who may write anything.
        address = written[-settings.SIGN_IN_PROXIES] if len(written) >= settings.SIGN_IN_PROXIES else address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return str(address)[:64]
    # A socket for both kinds says ::ffff:192.0.2.1 of a visitor with IPv4; all of those are one /64.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def take_turn(who: Caller, *, now: datetime) -> Turn:
    """Count a try before it is made: tries at the same moment are counted one after the other, and none slips through."""
    with transaction.atomic():
        counts = list(_counts(who))
        rows = _locked(counts, now)
        waits = [
            row.blocked_until - now for row in rows.values() if row.blocked_until and row.blocked_until > now
        ]
        if waits:
            return Turn(wait_seconds=max(1, round(max(waits).total_seconds())))
        begins = [_counted(rows[count.key], count, now) for count in counts]
        return Turn(begins_wait=any(begins))


def give_back(who: Caller) -> None:
    """The try was right: what this person and place count ends, the counts that others share lose this one try."""
    own, *shared = [count.key for count in _counts(who)]
    SignInTries.objects.filter(pk=own).delete()
    for key in shared:
        # One at a time: two locked together, in another order than take_turn's, would wait for each other.
        SignInTries.objects.filter(pk=key, tries__gt=0).update(tries=F("tries") - 1, blocked_until=None)


def unlock(*, account: str = "", address: str = "") -> int:
    """End the waits of an account, of an address, or (neither given) all of them; returns how many counts ended."""
    rows = SignInTries.objects.all()
    if account:
        rows = rows.filter(account=crypto.blind_index("sign-in account", account))
    if address:
        rows = rows.filter(address=crypto.pseudonym("sign-in address", address))
    return rows.delete()[0]


def forget(*, now: datetime) -> int:
    """Delete counts that would begin anew; returns how many."""
    old = Q(blocked_until=None) | Q(blocked_until__lt=now)
    return SignInTries.objects.filter(old, last_at__lt=now - FORGOTTEN_AFTER).delete()[0]


def _counts(who: Caller) -> Iterator[_Count]:
    """The count that only this person and place use comes first."""
    if who.device:
        key = crypto.pseudonym("sign-in device", f"{who.account}:{who.device}")
        yield _Count(key, OF_A_PAIR, account=who.account)
        return
    pair = crypto.pseudonym("sign-in pair", f"{who.account}:{who.address}")
    yield _Count(pair, OF_A_PAIR, account=who.account, address=who.address)
    yield _Count(who.account, OF_AN_ACCOUNT, account=who.account)
    yield _Count(who.address, OF_AN_ADDRESS, address=who.address)


def _locked(counts: list[_Count], now: datetime) -> dict[str, SignInTries]:
    made = [SignInTries(key=one.key, account=one.account, address=one.address, last_at=now) for one in counts]
    found: dict[str, SignInTries] = {}
    while len(found) < len(counts):
        # Anew where somebody deleted a row in between: a right password, `prune` or the operator.
        SignInTries.objects.bulk_create(made, ignore_conflicts=True)
        rows = SignInTries.objects.select_for_update().filter(pk__in=[one.key for one in counts])
        # In one order everywhere, so that two tries never wait for each other.
        found = {row.key: row for row in rows.order_by("pk")}
    return found


def _counted(row: SignInTries, count: _Count, now: datetime) -> bool:
    """Whether this try is the last before a wait."""
    row.tries = 1 if row.last_at < now - FORGOTTEN_AFTER else row.tries + 1
    row.last_at = now
    over = row.tries - count.limit
    row.blocked_until = now + min(FIRST_WAIT * 2 ** min(over, 10), MOST_WAIT) if over >= 0 else None
    row.save()
    return over >= 0
