"""Asking for an estimate, and working one out: the log, the other choice, and what may be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import numpy as np
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from segmentation import campaigns, leases
from segmentation.estimates import logged, others
from segmentation.estimates.logged import Logged
from segmentation.jobs import Job, enqueue
from segmentation.ml import off_policy
from segmentation.models import AuditEntry, Campaign, Offer, PolicyEstimate, Shop

RETRY_AFTER: Final = timedelta(seconds=30)
KEPT: Final = 50
HORIZONS: Final = range(1, 366)


def request(
    campaign: Campaign,
    *,
    other: Campaign | None = None,
    offer: Offer | None = None,
    horizon_days: int = 30,
    by: Any = None,
) -> PolicyEstimate:
    """Queue an estimate of another campaign, or of one offer for everybody. Raises ValidationError."""
    if campaign.choice != Campaign.Choice.SAMPLING:
        raise ValidationError(
            _(
                "Only a campaign that learns which of its rules works draws, and only what was drawn can be judged."
            )
        )
    if (other is None) == (offer is None):
        raise ValidationError(_("Choose another campaign, or one offer."))
    if horizon_days not in HORIZONS:
        raise ValidationError(_("Follow customers for 1 to 365 days."))
    if other is not None:
        campaigns.validate(other)
    with transaction.atomic():
        row = PolicyEstimate.objects.create(
            campaign=campaign,
            other=other,
            offer=offer,
            horizon_days=horizon_days,
            requested_by=by if getattr(by, "is_authenticated", False) else None,
        )
        AuditEntry.record("estimate.requested", campaign, actor=by, estimate=row.pk)
        enqueue(Job.ESTIMATE, estimate_id=row.pk)
    return row


def work(estimate_id: int) -> None:
    """Work one out, if it waits; older ones of its campaign go."""
    for row in leases.claim(PolicyEstimate.objects.filter(pk=estimate_id)):
        with leases.worked(row, after=RETRY_AFTER):
            leases.finish(row, result=run(row))
            _prune(row)


def _prune(row: PolicyEstimate) -> None:
    """The newest of a campaign are kept."""
    same = PolicyEstimate.objects.filter(campaign=row.campaign_id, finished_at__isnull=False)
    kept = list(same.order_by("-pk").values_list("pk", flat=True)[:KEPT])
    same.exclude(pk__in=kept).delete()


def run(row: PolicyEstimate) -> dict[str, Any]:
    """What is told, or `refusal`: why nothing is (off_policy.Refusal, or "not_kept" with the fields)."""
    shop = Shop.get()
    found = logged.read(row.campaign, horizon_days=row.horizon_days, shop=shop)
    told: dict[str, Any] = {
        "rows": len(found.rows),
        "held_out": int((found.action == logged.NOTHING).sum()),
        "left_out": dict(found.left_out),
        "sampled": found.is_sample,
    }
    if len(found.rows) < off_policy.LEAST_ROWS:
        return told | {"refusal": off_policy.Refusal.TOO_FEW.value, "needed": off_policy.LEAST_ROWS}
    if (found.chance.max(axis=1) >= 1).all():
        return told | {"refusal": off_policy.Refusal.DETERMINISTIC.value}
    policy = others.policy_of(row.other) if row.other is not None else None
    if policy is not None and (lacking := others.missing(policy, found)):
        return told | {"refusal": "not_kept", "fields": lacking}
    leases.renew(row, progress=0.4)
    wanted = [row.offer_id] if policy is None else others.offers_of(policy)
    offers = (*found.offers, *(one for one in wanted if one not in found.offers))
    places = {offer: place for place, offer in enumerate(offers)}
    if policy is None:
        target = np.eye(len(offers))[np.full(len(found.rows), places[row.offer_id])]
    else:
        target = others.chances(policy, found, places)
    leases.renew(row, progress=0.7)
    return told | _answer(found, target, offers)


def _answer(found: Logged, target: np.ndarray, offers: tuple[int | None, ...]) -> dict[str, Any]:
    chance = np.pad(found.chance, ((0, 0), (0, len(offers) - len(found.offers))))
    context = others.columns(found)
    logs = {
        name: off_policy.Log(action=found.action, chance=chance, reward=reward, context=context)
        for name, reward in (("bought", found.bought), ("spent", found.spent))
    }
    overlap = off_policy.overlap(logs["bought"], target)
    costs = _costs(offers)
    done = np.eye(len(offers))[found.action]
    told: dict[str, Any] = {
        "overlap": {
            "effective": overlap.effective,
            "heaviest": overlap.heaviest,
            "unseen": overlap.unseen,
        },
        "offers": [
            {
                "offer": offer,
                "logged": float(done[:, place].mean()),
                "other": float(target[:, place].mean()),
                "could": float((chance[:, place] > 0).mean()),
            }
            for place, offer in enumerate(offers)
        ],
        "cost_minor": {"logged": float((done @ costs).mean()), "other": float((target @ costs).mean())},
    }
    if overlap.refusal is not None:
        return told | {"refusal": overlap.refusal.value}
    return told | {name: _told(off_policy.estimate(one, target)) for name, one in logs.items()}


def _told(answer: off_policy.Answer) -> dict[str, Any]:
    every: Mapping[str, off_policy.Estimate] = {
        **answer.estimates,
        "logged": answer.logged,
        "gain": answer.gain,
    }
    return {name: asdict(one) for name, one in every.items()}


def _costs(offers: tuple[int | None, ...]) -> np.ndarray:
    known = dict(Offer.objects.filter(pk__in=[pk for pk in offers if pk]).values_list("pk", "cost_minor"))
    return np.array([float(known.get(pk or 0, 0)) for pk in offers])
