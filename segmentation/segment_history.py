"""Who was in a segment on a day, how fresh its members are, and how customers moved between value tiers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from segmentation import alerts
from segmentation.features.days import midnight
from segmentation.models import Membership, PastMembership, ScoreHistory, Segment, Shop, Target

# The nightly run brings every segment up to date; a day and two hours without one is too long.
STALE_AFTER = timedelta(hours=26)
# An edit is worked out within minutes.
WAITING_AFTER = timedelta(hours=1)
STALE_KEY = "segments.stale"


@dataclass(frozen=True)
class Stay:
    """A time in a segment; `left_at` None: still there. Causes are MembershipCause."""

    customer_id: int
    reference: str
    entered_at: datetime
    entered_by: int
    left_at: datetime | None
    left_by: int | None


def end_of(day: date, shop: Shop) -> datetime:
    return midnight(day + timedelta(days=1), shop.zone)


def stays_on(
    segment: Segment, day: date, *, limit: int | None = None, after: int | None = None
) -> list[Stay]:
    """Who was in the segment at the end of the day (by the shop's clock), by customer id, beginning after `after`."""
    lasting, over = _on(segment, day, Shop.get())
    if after is not None:
        lasting, over = lasting.filter(customer_id__gt=after), over.filter(customer_id__gt=after)
    told = ("customer_id", "customer__reference", "entered_at", "entered_by")
    rows = [(*row, None, None) for row in lasting.order_by("customer_id").values_list(*told)[:limit]]
    rows += over.order_by("customer_id").values_list(*told, "left_at", "left_by")[:limit]
    return [Stay(*row) for row in sorted(rows)[:limit]]


def count_on(segment: Segment, day: date) -> int:
    return sum(rows.count() for rows in _on(segment, day, Shop.get()))


def moves_between(segment: Segment, first: date, last: date) -> tuple[int, int]:
    """How often somebody entered and left after the end of the first day, up to the end of the last one."""
    shop = Shop.get()
    start, end = end_of(first, shop), end_of(last, shop)
    entered = Q(entered_at__gte=start, entered_at__lt=end)
    now_in = Membership.objects.filter(entered, segment=segment).count()
    past = PastMembership.objects.filter(segment=segment)
    return now_in + past.filter(entered).count(), past.filter(left_at__gte=start, left_at__lt=end).count()


def _on(segment: Segment, day: date, shop: Shop) -> tuple[QuerySet[Membership], QuerySet[PastMembership]]:
    """Those who are still in, and those who left later; nobody is in both."""
    end = end_of(day, shop)
    over = PastMembership.objects.filter(segment=segment, entered_at__lt=end, left_at__gte=end)
    return Membership.objects.filter(segment=segment, entered_at__lt=end), over


def watch_freshness(now: datetime | None = None) -> None:
    """Raise an alert while segments have not been brought up to date for too long, and close it when they are."""
    late = stale(now or timezone.now(), Shop.get())
    if not late:
        alerts.resolve(STALE_KEY)
        return
    names = ", ".join(f"“{segment.name}”" for segment in late[:5])
    alerts.raise_once(
        STALE_KEY,
        _("The members of %(segments)s are not up to date. Look whether the workers run, or classify now.")
        % {"segments": names},
    )


def stale(now: datetime, shop: Shop) -> list[Segment]:
    """Active segments whose members are too old. A shop whose day is set is not classified every night."""
    waiting = Q(refreshed_at=None, version__created_at__lt=now - WAITING_AFTER)
    old = Q(pk__in=()) if shop.frozen_on else Q(refreshed_at__lt=now - STALE_AFTER)
    rows = Segment.objects.filter(waiting | old, is_active=True, version__isnull=False)
    return list(rows.order_by("name")[:20])


def is_stale(segment: Segment, now: datetime, shop: Shop) -> bool:
    if not segment.is_active or segment.version is None:
        return False
    if segment.refreshed_at is None:
        return segment.version.created_at < now - WAITING_AFTER
    return shop.frozen_on is None and segment.refreshed_at < now - STALE_AFTER


@dataclass(frozen=True)
class Migration:
    """flows: (class on the first day, on the last) → customers; "" is without a score."""

    target: Target
    first: date
    last: date
    flows: dict[tuple[str, str], int]


def migration(target: Target, first: date, last: date) -> Migration:
    """How customers moved between the classes of a target from the end of one day to the end of another."""
    as_of = [day + timedelta(days=1) for day in (first, last)]
    with connection.cursor() as cursor:
        cursor.execute(_migration_sql(), [target.pk, as_of[1], target.pk, as_of[0]])
        flows = {(before, after): count for before, after, count in cursor.fetchall()}
    return Migration(target, first, last, flows)


def known_days(target: Target) -> tuple[date, date] | None:
    """The first and the last day of which the classes are known (the day before `as_of`)."""
    rows = ScoreHistory.objects.filter(target=target).order_by("as_of").values_list("as_of", flat=True)
    first, last = rows.first(), rows.last()
    return None if first is None or last is None else (first - timedelta(days=1), last - timedelta(days=1))


def _migration_sql() -> str:
    """The last class of each customer before each of two days, counted by pair."""
    table = connection.ops.quote_name(ScoreHistory._meta.db_table)
    newest = f"""
        SELECT customer_id, label FROM (
            SELECT customer_id, label,
                   row_number() OVER (PARTITION BY customer_id ORDER BY as_of DESC) AS place
            FROM {table} WHERE target_id = %s AND as_of <= %s
        ) told WHERE place = 1"""  # noqa: S608
    # Whoever was scored by the first day was scored by the last one as well, so the later side is the longer one.
    return f"""
        SELECT coalesce(earlier.label, ''), later.label, count(*)
        FROM ({newest}) later LEFT JOIN ({newest}) earlier ON later.customer_id = earlier.customer_id
        GROUP BY 1, 2"""  # noqa: S608
