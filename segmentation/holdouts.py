"""Who gets nothing so that effects can be measured: a stable hash decides, and draws are never edited.

A customer is held out when sha256(salt + ":" + key), read as a share of 2**64 by its first eight bytes, lies below
the percentage. The key is the customer's reference, or after a merge the older person's (Customer.holdout_key),
so the draw belongs to the person and can be recomputed offline. Service priorities are not held out.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from segmentation.models import AuditEntry, Campaign, Customer, HoldoutGroup

MAX_PERCENT: Final = Decimal(50)
_WHOLE: Final = 1 << 64


@dataclass(frozen=True)
class Draw:
    """What decides a holdout: who is in it follows from salt and percentage alone."""

    salt: str
    percent: float

    @classmethod
    def of(cls, group: HoldoutGroup) -> Draw:
        return cls(salt=group.salt, percent=float(group.percent))


def key_of(customer: Customer) -> str:
    return customer.holdout_key or customer.reference


def is_held_out(draw: Draw | None, key: str) -> bool:
    """Whether the person with this key is in the draw."""
    if draw is None or draw.percent <= 0:
        return False
    digest = hashlib.sha256(f"{draw.salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < draw.percent / 100 * _WHOLE


class Drawn:
    """A draw over n people, each asked about at most once and only where the answer matters: hashing is slow."""

    def __init__(self, draw: Draw | None, keys: Sequence[str]) -> None:
        self._draw = draw if draw is not None and draw.percent > 0 else None
        self._keys = keys
        self._salted = None if draw is None else hashlib.sha256(f"{draw.salt}:".encode())
        self._asked = np.zeros(len(keys), dtype=bool)
        self._held = np.zeros(len(keys), dtype=bool)

    def among(self, rows: np.ndarray) -> np.ndarray:
        """(n,) bool: of the marked people those who are held out."""
        if self._draw is None:
            return self._held
        new = np.flatnonzero(rows & ~self._asked)
        if len(new):
            # An integer is below a limit exactly if it is below the next whole number.
            limit = math.ceil(self._draw.percent / 100 * _WHOLE)
            self._held[new] = self._shares(new) < np.uint64(min(limit, _WHOLE - 1))
            self._asked |= rows
        return self._held & rows

    def _shares(self, rows: np.ndarray) -> np.ndarray:
        """(k,) uint64 what `is_held_out` compares, for these rows; the salt is hashed once."""
        assert self._salted is not None
        found = []
        for row in rows.tolist():
            salted = self._salted.copy()
            salted.update(self._keys[row].encode())
            found.append(salted.digest()[:8])
        return np.frombuffer(b"".join(found), dtype=">u8")


def current_draws() -> dict[int | None, Draw]:
    """Draws in force by campaign id; None is the global one."""
    return {
        group.campaign_id: Draw.of(group)
        for group in HoldoutGroup.objects.filter(is_current=True)
        if group.percent > 0
    }


def set_global(percent: Decimal | float | str, *, by: Any = None) -> HoldoutGroup:
    """Hold out this share of everybody from all campaigns; another percentage is a new draw."""
    return _set(None, Decimal(str(percent)), by)


def set_for(campaign: Campaign, *, by: Any = None) -> HoldoutGroup:
    """Bring a campaign's draw in line with its `holdout_percent`."""
    return _set(campaign, campaign.holdout_percent, by)


def _set(campaign: Campaign | None, percent: Decimal, by: Any) -> HoldoutGroup:
    if not 0 <= percent <= MAX_PERCENT:
        raise ValidationError(_("A holdout is from 0 to %(most)s percent.") % {"most": MAX_PERCENT})
    with transaction.atomic():
        current = HoldoutGroup.objects.select_for_update().filter(campaign=campaign, is_current=True).first()
        if current is not None and current.percent == percent:
            return current
        HoldoutGroup.objects.filter(campaign=campaign, is_current=True).update(is_current=False)
        draw = 1 + HoldoutGroup.objects.filter(campaign=campaign).count()
        group = HoldoutGroup.objects.create(
            campaign=campaign, draw=draw, salt=secrets.token_hex(16), percent=percent
        )
        before = str(current.percent) if current is not None else None
        AuditEntry.record(
            "holdout.drawn",
            group,
            actor=by,
            before={"percent": before},
            after={"percent": str(percent)},
            draw=draw,
        )
        return group
