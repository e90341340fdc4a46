"""Trainings that start by themselves: by the shop's schedule, or because a serving version no longer fits.

Only targets that a version serves are trained again. The run carries its cause; whatever comes of it serves only by the
target's own policy or by hand (segmentation/registry.py). However often an alert stands, no second training starts by
itself within the shop's pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import alerts, training_runs
from segmentation.models import LeaseState, ModelSlot, Shop, Target, TrainingRun
from segmentation.targets import is_behaviour

log = structlog.get_logger(__name__)
Cause = TrainingRun.Cause
ALERT = "retraining"


def next_at(shop: Shop) -> datetime | None:
    """When the schedule trains next, the earliest over all served targets; None: it never does."""
    if shop.train_every_days is None or shop.frozen_on is not None:
        return None
    moments = [_due_at(slot, shop) for slot in _served()]
    return min(moments) if moments else None


def last_at() -> datetime | None:
    """When a training last came to its end."""
    done = TrainingRun.objects.filter(state=LeaseState.DONE).order_by("-finished_at")
    return done.values_list("finished_at", flat=True).first()


def start_if_due(now: datetime | None = None) -> list[TrainingRun]:
    """Train what the schedule says is due: a run for all that were learned in the same way."""
    shop = Shop.get()
    if shop.train_every_days is None or shop.frozen_on is not None:
        return []
    now = now or timezone.now()
    due = [slot for slot in _served() if _due_at(slot, shop) <= now]
    note = _("The shop trains every %(days)s days.") % {"days": shop.train_every_days}
    return _start(due, Cause.SCHEDULE, note, shop=shop, now=now)


def after_alert(target: Target, cause: str, note: str, *, now: datetime | None = None) -> list[TrainingRun]:
    """Train the target again, and what its version serves beside it, where the shop wants that."""
    shop = Shop.get()
    if not shop.train_on_alerts:
        return []
    served = _served()
    own = next((slot for slot in served if slot.target_id == target.pk), None)
    if own is None:
        return []
    together = [slot for slot in served if slot.champion_id == own.champion_id]
    return _start(together, cause, note, shop=shop, now=now or timezone.now())


def _served() -> list[ModelSlot]:
    rows = ModelSlot.objects.filter(champion__isnull=False, target__is_active=True)
    return list(rows.select_related("champion__training_run", "target__attribute").order_by("target__slug"))


def _due_at(slot: ModelSlot, shop: Shop) -> datetime:
    """Counted from the last training that came to an end, else from when the champion was made."""
    done = TrainingRun.objects.filter(targets=slot.target, state=LeaseState.DONE).order_by("-created_at")
    last = done.values_list("created_at", flat=True).first()
    if last is None and slot.champion is not None:
        last = slot.champion.created_at
    due = (last or timezone.now()) + timedelta(days=shop.train_every_days or 0)
    tried = _last_by_itself(slot.target)
    return due if tried is None else max(due, tried + timedelta(days=shop.train_pause_days))


def _last_by_itself(target: Target) -> datetime | None:
    rows = TrainingRun.objects.filter(targets=target).exclude(cause=Cause.PERSON).order_by("-created_at")
    return rows.values_list("created_at", flat=True).first()


def _start(
    wanted: Sequence[ModelSlot], cause: str, note: str, *, shop: Shop, now: datetime
) -> list[TrainingRun]:
    """One that cannot start is told in an alert and holds up none of the others."""
    since = now - timedelta(days=shop.train_pause_days)
    recent = Q(cause=Cause.PERSON) | Q(created_at__lte=since)
    rested = [
        slot
        for slot in wanted
        if not TrainingRun.objects.filter(targets=slot.target).exclude(recent).exists()
        and not slot.target.run_targets.filter(is_active=True).exists()
    ]
    made, refused = [], []
    for settings, together in _by_settings(rested):
        try:
            run = training_runs.request(together, cause=cause, cause_note=note, **settings)
            made.append(run)
        except training_runs.TrainingError as error:
            log.warning("retraining.refused", cause=cause)
            refused.append(str(error))
    if refused:
        told = {"why": " ".join(refused)}
        alerts.raise_once(ALERT, _("A training that was due did not start: %(why)s") % told)
    elif made:
        alerts.resolve(ALERT)
    return made


def _by_settings(slots: Sequence[ModelSlot]) -> list[tuple[dict[str, Any], list[Target]]]:
    """Targets with the settings that made what serves them: what was tried since and does not serve is not repeated.

    Without the search for settings, which costs as many trainings as it has trials. A target that staff label learns
    alone, so that too few labels hold up nothing else.
    """
    found: list[tuple[bool, dict[str, Any], list[Target]]] = []
    for slot in slots:
        run = slot.champion.training_run if slot.champion is not None else None
        settings: dict[str, Any] = {"preset": "default", "seed": 1, "config": {}}
        if run is not None:
            config = {name: value for name, value in run.config.items() if name != "search"}
            settings = {"preset": run.preset, "seed": run.seed, "config": config}
        shares = is_behaviour(slot.target)
        same = next((row for row in found if shares and row[:2] == (True, settings)), None)
        if same is None:
            found.append((shares, settings, [slot.target]))
        else:
            same[2].append(slot.target)
    return [(settings, together) for _shares, settings, together in found]
