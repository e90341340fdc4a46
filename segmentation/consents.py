"""What customers agreed to or refused. The newest answer counts; refusals win ties and merges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Q

from segmentation import bulk
from segmentation.batches import batches
from segmentation.models import Consent, Customer, Shop
from segmentation.models.shop import ProfilingBasis
from segmentation.normal import NormalConsent

Answers = dict[tuple[int, str], str]


def record(answers: Mapping[int, Iterable[NormalConsent]], *, source: str) -> set[int]:
    """Store answers by customer id; returns the customers with something new. Needs a transaction."""
    rows = {
        (customer_id, answer.purpose, answer.decided_at): answer.status
        for customer_id, given in answers.items()
        for answer in sorted(given, key=lambda answer: answer.status == Consent.Status.DENIED)
    }
    known = _known(sorted(answers))
    fresh = {key: status for key, status in rows.items() if key not in known}
    bulk.insert(
        Consent,
        ("customer_id", "purpose", "decided_at", "status", "source"),
        [(*key, status, source[:64]) for key, status in fresh.items()],
        on_conflict="ignore",
    )
    stricter = {
        key
        for key, status in rows.items()
        if status == Consent.Status.DENIED and known.get(key) == Consent.Status.GRANTED
    }
    for customer_id, purpose, decided_at in stricter:
        Consent.objects.filter(customer_id=customer_id, purpose=purpose, decided_at=decided_at).update(
            status=Consent.Status.DENIED, source=source[:64]
        )
    changed = {key[0] for key in fresh} | {key[0] for key in stricter}
    refresh_profiled(changed)
    return changed


def current(customer_ids: Iterable[int], *, at: datetime | None = None) -> Answers:
    """(customer id, purpose) → "granted" or "denied" as known before `at`; no entry where nobody answered.

    Customers merged into one of these count for it, and one refusal among them refuses for all.
    """
    answers: Answers = {}
    for part in batches(sorted(set(customer_ids))):
        rows = Consent.objects.filter(Q(customer__in=part) | Q(customer__merged_into__in=part))
        if at is not None:
            rows = rows.filter(decided_at__lt=at)
        newest: dict[tuple[int, str, int], str] = {}
        # Granted sorts after denied, so at a tie the refusal is read last and stays.
        for person, survivor, purpose, status in rows.order_by("decided_at", "-status").values_list(
            "customer_id", "customer__merged_into", "purpose", "status"
        ):
            newest[survivor or person, purpose, person] = status
        for (customer_id, purpose, _person), status in newest.items():
            if answers.get((customer_id, purpose)) != Consent.Status.DENIED:
                answers[customer_id, purpose] = status
    return answers


def refresh_profiled(customer_ids: Iterable[int]) -> None:
    """Set Customer.is_profiled from the shop's basis and the answers: a refusal always excludes."""
    ids = sorted(set(customer_ids))
    if not ids:
        return
    answers = current(ids)
    unknown = profiled_by_default()
    excluded = {
        key for key in ids if not _may_profile(answers.get((key, Consent.Purpose.PROFILING)), unknown=unknown)
    }
    for part in batches(sorted(excluded)):
        Customer.objects.filter(pk__in=part, is_profiled=True).update(is_profiled=False)
    for part in batches(sorted(set(ids) - excluded)):
        Customer.objects.filter(pk__in=part, is_profiled=False).update(is_profiled=True)


def profiled_by_default() -> bool:
    """Whether somebody who never answered is profiled."""
    return Shop.get().profiling_basis != ProfilingBasis.CONSENT


def _may_profile(answer: str | None, *, unknown: bool) -> bool:
    return unknown if answer is None else answer == Consent.Status.GRANTED


def _known(customer_ids: list[int]) -> dict[tuple[int, str, datetime], str]:
    return {
        (customer_id, purpose, decided_at): status
        for part in batches(customer_ids)
        for customer_id, purpose, decided_at, status in Consent.objects.filter(customer__in=part).values_list(
            "customer_id", "purpose", "decided_at", "status"
        )
    }
