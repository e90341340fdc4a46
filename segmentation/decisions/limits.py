"""What is left of budgets, offers and codes: asked and taken under a lock, so that workers at once never exceed it.

All rows of a policy with something left are locked together, in one order, the first time somebody new would get
something limited; they stay locked until the transaction ends. What is used up is not waited for: it does not come
back. Checks at the database refuse what would still exceed a limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _

from segmentation.decisions.codes import Verdict
from segmentation.decisions.policy import Candidate, Policy
from segmentation.models import Campaign, Offer, OfferCode, Usage

Key = tuple[str, int]


@dataclass
class _Left:
    """What remains of one limit; None is no limit."""

    count: int | None
    money: int | None
    given: int = 0
    spent: int = 0

    def room(self, cost: int) -> int | None:
        rooms = [] if self.count is None else [self.count - self.given]
        if self.money is not None and cost > 0:
            rooms.append((self.money - self.spent) // cost)
        return max(0, min(rooms)) if rooms else None


@dataclass
class Allowance:
    """Needs a transaction. `codes`: by candidate, the codes that its new customers get, in their order.

    is_dry: looks at what is left without holding or changing it.
    """

    policy: Policy
    is_dry: bool = False
    codes: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    _left: dict[Key, _Left] | None = None
    _pools: dict[int, list[tuple[int, str]]] = field(default_factory=dict)

    def take(self, index: int, candidate: Candidate, wanted: int) -> tuple[int, Verdict]:
        """How many of `wanted` customers may have it, and why the others may not."""
        got, reason = wanted, Verdict.BUDGET_GONE
        cost = candidate.offer.cost_minor
        for key, verdict in _keys(candidate):
            room = self._of(key).room(cost)
            if room is not None and room < got:
                got, reason = room, verdict
        if candidate.offer.from_pool:
            pool = self._pool(candidate.offer.id, got)
            if len(pool) < got:
                got, reason = len(pool), Verdict.NO_CODE
            self.codes.setdefault(index, []).extend(pool[:got])
            del pool[:got]
        for key, _verdict in _keys(candidate):
            left = self._of(key)
            left.given += got
            left.spent += got * cost
        return got, reason

    def write(self) -> None:
        """Store what was taken. The checks of the table are the last word."""
        for (kind, pk), left in sorted((self._left or {}).items()):
            if left.given:
                Usage.objects.filter(**{kind: pk}).update(
                    given=F("given") + left.given, spent_minor=F("spent_minor") + left.spent
                )

    def _of(self, key: Key) -> _Left:
        if self._left is None:
            self._left = self._read()
        return self._left.setdefault(key, _Left(None, None))

    def _read(self) -> dict[Key, _Left]:
        limited = {key for candidate in self.policy.candidates for key, _verdict in _keys(candidate)}
        wanted = Q(campaign__in=[pk for kind, pk in limited if kind == "campaign"]) | Q(
            offer__in=[pk for kind, pk in limited if kind == "offer"]
        )
        rows = Usage.objects.filter(wanted).order_by("pk")
        found = _by_key(rows)
        if not self.is_dry:
            if _make_missing(limited - found.keys()):
                found = _by_key(rows.all())
            left = [row.pk for key, row in found.items() if not self._is_gone(key, row)]
            found |= _by_key(rows.filter(pk__in=left).select_for_update()) if left else {}
        return {
            key: _Left(
                None if row.most is None else row.most - row.given,
                None if row.most_minor is None else row.most_minor - row.spent_minor,
            )
            for key, row in found.items()
        }

    def _is_gone(self, key: Key, row: Usage) -> bool:
        """Whether nobody can get anything under this limit any more."""
        if row.most is not None and row.given >= row.most:
            return True
        if row.most_minor is None or row.spent_minor < row.most_minor:
            return False
        under = (c for c in self.policy.candidates if any(key == limit for limit, _verdict in _keys(c)))
        return all(candidate.offer.cost_minor > 0 for candidate in under)

    def _pool(self, offer_id: int, wanted: int) -> list[tuple[int, str]]:
        """Free codes, as many as asked for where there are so many. The offer's row is locked, so they stay free."""
        pool = self._pools.setdefault(offer_id, [])
        if len(pool) < wanted:
            taken = {pk for codes in self.codes.values() for pk, _code in codes} | {pk for pk, _code in pool}
            free = OfferCode.objects.filter(offer=offer_id, is_used=False).exclude(pk__in=taken)
            pool += list(free.order_by("pk").values_list("pk", "code")[: wanted - len(pool)])
        return pool


def _keys(candidate: Candidate) -> Iterable[tuple[Key, Verdict]]:
    """The limits that giving this candidate counts against, and what is said when nothing is left."""
    if candidate.campaign.budget_minor is not None:
        yield ("campaign", candidate.campaign.id), Verdict.BUDGET_GONE
    if candidate.offer.is_limited:
        yield ("offer", candidate.offer.id), Verdict.OFFER_GONE


def _by_key(rows: QuerySet[Usage]) -> dict[Key, Usage]:
    return {
        ("campaign", row.campaign_id) if row.campaign_id else ("offer", row.offer_id or 0): row
        for row in rows
    }


def _make_missing(keys: set[Key]) -> bool:
    """Rows that no service has made yet; whether there were any to make."""
    for kind, pk in sorted(keys):
        sync(Campaign.objects.get(pk=pk) if kind == "campaign" else Offer.objects.get(pk=pk))
    return bool(keys)


def sync(thing: Campaign | Offer) -> None:
    """Bring the stored limit in line with the campaign's or offer's own. Raises ValidationError where more is used."""
    kind = "campaign" if isinstance(thing, Campaign) else "offer"
    most, money = limits_of(thing)
    Usage.objects.bulk_create(
        [Usage(**{f"{kind}_id": thing.pk}, most=most, most_minor=money)], ignore_conflicts=True
    )
    fits = Q() if most is None else Q(given__lte=most)
    fits &= Q() if money is None else Q(spent_minor__lte=money)
    rows: Any = Usage.objects.filter(**{kind: thing.pk})
    if not rows.filter(fits).update(most=most, most_minor=money):
        raise ValidationError(
            _("More than that is used already; set the limit to what is used, or end it instead.")
        )


def hold(campaigns: Iterable[Campaign], offers: Iterable[Offer]) -> None:
    """Lock what is counted of these in the order of decisions, before any is changed: else the two would lock up."""
    rows = Usage.objects.filter(
        Q(campaign__in=[one.pk for one in campaigns]) | Q(offer__in=[one.pk for one in offers])
    )
    list(rows.order_by("pk").select_for_update().values_list("pk"))


def follow(thing: Campaign | Offer) -> None:
    """`sync` where there is a limit; without one what is stored no longer limits."""
    if any(limit is not None for limit in limits_of(thing)):
        sync(thing)
        return
    kind = "campaign" if isinstance(thing, Campaign) else "offer"
    Usage.objects.filter(**{kind: thing.pk}).update(most=None, most_minor=None)


def limits_of(thing: Campaign | Offer) -> tuple[int | None, int | None]:
    if isinstance(thing, Campaign):
        return None, thing.budget_minor
    return thing.limit_total, thing.limit_money_minor
