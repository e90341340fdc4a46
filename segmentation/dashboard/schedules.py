"""When everyone is classified and when models are trained: what was last, and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import retraining
from segmentation.dashboard import words
from segmentation.models import ScoringRun, Shop


@dataclass(frozen=True)
class Schedule:
    what: str
    last: str
    next: str


def read(shop: Shop, now: datetime | None = None) -> tuple[Schedule, ...]:
    now = now or timezone.now()
    done = ScoringRun.objects.filter(state=ScoringRun.State.DONE).order_by("-pk").first()
    coming = next_classification(shop, now)
    training = retraining.next_at(shop)
    return (
        Schedule(
            _("Everyone is classified"),
            words.moment(done.finished_at) if done else words.NOTHING,
            words.moment(coming) if coming else _("when somebody asks"),
        ),
        Schedule(
            _("Models are trained"),
            words.moment(retraining.last_at()),
            words.moment(max(training, now)) if training else _("when somebody asks"),
        ),
    )


def next_classification(shop: Shop, now: datetime) -> datetime | None:
    """None for a shop whose day stands still: there the night never comes."""
    if shop.frozen_on is not None:
        return None
    today = now.astimezone(shop.zone).date()
    last = ScoringRun.objects.order_by("-as_of").values_list("as_of", flat=True).first()
    # A run as of the end of a day is that day's.
    day = today if last is None else max(today, last + timedelta(days=shop.classify_every_days - 1))
    return datetime.combine(day, time(shop.classify_hour), tzinfo=shop.zone)
