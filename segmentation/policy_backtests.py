"""What a draft segment, campaign or priority rule would have done on past days, with features as they were then.

A worker replays the draft on a sample of customers for each day: whom it would have reached, beside and against what
runs now, what it would have cost, and what those customers did afterwards. That is selection, not effect: the figures
of the reached and of the others differ because the rule picked them, whatever an offer would have done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Min
from django.utils.translation import gettext as _

from segmentation import campaigns, choices, holdouts, labels, leases, rule_columns, segments
from segmentation.batches import batches
from segmentation.decisions import circumstances, hours
from segmentation.decisions import policy as policies
from segmentation.decisions.codes import GIVEN, Verdict
from segmentation.decisions.policy import Policy
from segmentation.decisions.verdicts import Judged, judge
from segmentation.features.days import midnight
from segmentation.jobs import Job, enqueue
from segmentation.ml.splits import stable_share
from segmentation.models import (
    AuditEntry,
    Campaign,
    Customer,
    Decision,
    Event,
    PolicyBacktest,
    Segment,
    ServicePriorityRule,
    Shop,
)
from segmentation.models.customers import PriorityLevel
from segmentation.rule_columns import Wanted
from segmentation.rules import language
from segmentation.rules.fields import is_prediction
from segmentation.segments import Definition

if TYPE_CHECKING:
    from segmentation.scoring import Pinned

SAMPLE: Final = 6000
CHUNK: Final = 2000
MOST_DAYS: Final = 6
SHORT_HISTORY: Final = timedelta(days=180)
CONTEXT_DAYS: Final = 35
RETRY_AFTER: Final = timedelta(seconds=30)
Thing = Segment | Campaign | ServicePriorityRule


def request(
    thing: Thing, days: Sequence[date], *, horizon_days: int = 30, by: Any = None, today: date | None = None
) -> PolicyBacktest:
    """Queue a backtest of the thing as it is saved. Raises ValidationError."""
    now = today or Shop.get().today()
    wanted = sorted(set(days))
    if not wanted:
        raise ValidationError(_("Choose at least one day."))
    if len(wanted) > MOST_DAYS:
        raise ValidationError(_("Choose at most %(most)s days.") % {"most": MOST_DAYS})
    if wanted[-1] > now:
        raise ValidationError(
            _("%(day)s is in the future; choose past days.") % {"day": wanted[-1].isoformat()}
        )
    first = _first_event_day(Shop.get())
    if first is not None and wanted[0] < first:
        raise ValidationError(
            _("Nothing is known of %(day)s: the first event is of %(first)s. Choose later days.")
            % {"day": wanted[0].isoformat(), "first": first.isoformat()}
        )
    if isinstance(thing, Segment) and thing.version_id is None:
        raise ValidationError(_("The segment has no rule yet."))
    if isinstance(thing, Campaign):
        campaigns.validate(thing)
    if isinstance(thing, ServicePriorityRule) and thing.condition:
        try:
            language.parse(thing.condition)
        except language.RuleError as error:
            raise ValidationError(error.message) from error
    names: dict[type[Any], str] = {
        Segment: "segment",
        Campaign: "campaign",
        ServicePriorityRule: "priority_rule",
    }
    with transaction.atomic():
        row = PolicyBacktest.objects.create(
            **{names[type(thing)]: thing},
            days=[day.isoformat() for day in wanted],
            horizon_days=horizon_days,
            requested_by=by if getattr(by, "is_authenticated", False) else None,
        )
        AuditEntry.record("backtest.requested", thing, actor=by, days=row.days)
        enqueue(Job.BACKTEST, backtest_id=row.pk)
    return row


def usual_days(today: date) -> list[date]:
    """One, two and three months ago: far enough for the outcome of a month to be known."""
    return [today - timedelta(days=30 * months) for months in (3, 2, 1)]


def work(backtest_id: int) -> None:
    """Run one, if it waits."""
    for row in leases.claim(PolicyBacktest.objects.filter(pk=backtest_id)):
        with leases.worked(row, after=RETRY_AFTER):
            leases.finish(row, result=run(row))


def run(row: PolicyBacktest) -> dict[str, Any]:
    """The result of every day, and what limits it."""
    shop = Shop.get()
    days = [date.fromisoformat(day) for day in row.days]
    everybody = Customer.objects.filter(merged_into__isnull=True).order_by("pk")
    ids = np.array(list(everybody.values_list("pk", flat=True)), dtype=np.int64)
    share = min(1.0, SAMPLE / len(ids)) if len(ids) else 1.0
    sample = ids[stable_share(ids, salt=7) < share].tolist()
    found = {}
    for number, day in enumerate(days):
        leases.renew(row, progress=number / len(days), note=day.isoformat())
        found[day.isoformat()] = _one_day(row, day, sample, share, shop)
    return {"days": found, "sampled": share < 1, "limits": _limits(row, days, shop)}


@dataclass
class _Tally:
    """Sums over the chunks of one day, for the sample."""

    seen: int = 0
    reached: int = 0
    cost_minor: int = 0
    verdicts: Counter[str] = None  # type: ignore[assignment]
    beside: Counter[str] = None  # type: ignore[assignment]
    against: Counter[str] = None  # type: ignore[assignment]
    moves: Counter[str] = None  # type: ignore[assignment]
    outcome: dict[bool, list[float]] = None  # type: ignore[assignment]
    ranked: choices.Ranked | None = None

    def __post_init__(self) -> None:
        self.verdicts, self.beside, self.against, self.moves = Counter(), Counter(), Counter(), Counter()
        # customers, with an order, orders, spend
        self.outcome = {True: [0.0] * 4, False: [0.0] * 4}


def _one_day(row: PolicyBacktest, day: date, ids: Sequence[int], share: float, shop: Shop) -> dict[str, Any]:
    from segmentation import scoring
    from segmentation.features import context

    as_of = day + timedelta(days=1)
    numbers = context.for_date(as_of, shop, max_age_days=CONTEXT_DAYS)
    pinned = scoring.pin(as_of, context=numbers)
    asked = _asked(row, shop)
    definitions = _definitions(row)
    tally = _Tally()
    for part in batches(ids, CHUNK):
        _add(tally, row, _frame(part, pinned, asked, definitions), pinned, shop)
    return _told(tally, row, day, share, shop)


def _asked(row: PolicyBacktest, shop: Shop) -> Wanted:
    """Columns that the draft asks for besides those of the rules in force."""
    if row.campaign is not None:
        return rule_columns.of_policy(policies.build([*campaigns.in_effect(shop.today()), row.campaign], []))
    if row.priority_rule is not None:
        return rule_columns.of_policy(policies.build([], [row.priority_rule]))
    return rule_columns.of(definition.node for definition in _definitions(row))


def _definitions(row: PolicyBacktest) -> tuple[Definition, ...]:
    """Segments of the frame: a draft is tried while it rests."""
    return segments.definitions() if row.segment is None else segments.with_draft(row.segment)


def _frame(
    ids: Sequence[int], pinned: Pinned, asked: Wanted, definitions: Sequence[Definition]
) -> pl.DataFrame:
    """The decision frame of that day: customers who were known by then, with the consent they had given by then."""
    from segmentation import consents, memberships, scoring
    from segmentation.features import store

    day, shop = pinned.as_of, pinned.shop
    frame = scoring.frame_for(ids, pinned)
    events = partial(store.read_events, ids, as_of=day, shop=shop)
    asked_for = rule_columns.add(frame.select("customer_id"), asked, events=events, as_of=day, shop=shop)
    frame = frame.with_columns(asked_for.get_columns()[1:])
    start = midnight(pinned.as_of, pinned.shop.zone)
    known = Event.objects.filter(customer__in=ids, occurred_at__lt=start).values_list(
        "customer_id", flat=True
    )
    frame = frame.filter(pl.col("customer_id").is_in(list(set(known))))
    answers = consents.current(frame["customer_id"].to_list(), at=start)
    given = [answers.get((key, "marketing"), consents.UNKNOWN) for key in frame["customer_id"].to_list()]
    frame = frame.with_columns(pl.Series("consent.marketing", given, dtype=pl.String))
    return memberships.evaluate(frame, definitions, today=pinned.as_of - timedelta(days=1))


def _add(tally: _Tally, row: PolicyBacktest, frame: pl.DataFrame, pinned: Pinned, shop: Shop) -> None:
    if frame.is_empty():
        return
    today = pinned.as_of - timedelta(days=1)
    tally.seen += frame.height
    if row.campaign is not None:
        reached = _campaign(tally, row.campaign, frame, today, shop)
    elif row.priority_rule is not None:
        reached = _priority(tally, row.priority_rule, frame, today)
    else:
        reached = _segment(tally, row.segment, frame)
    tally.reached += int(reached.sum())
    _follow(tally, frame["customer_id"], reached, pinned, row.horizon_days)


def _campaign(tally: _Tally, campaign: Campaign, frame: pl.DataFrame, today: date, shop: Shop) -> np.ndarray:
    policy = _among_running(campaign, shop)
    judged = _judged(frame, policy, today, shop)
    if campaign.budget_minor is not None and campaign.choice == Campaign.Choice.VALUE:
        tally.ranked = tally.ranked or choices.Ranked(policy, campaign.pk)
        tally.ranked.add(frame, judged)
    own = [i for i, candidate in enumerate(policy.candidates) if candidate.campaign.id == campaign.pk]
    reached = np.zeros(frame.height, dtype=bool)
    for index in own:
        codes, counts = np.unique(judged.codes[:, index], return_counts=True)
        tally.verdicts.update({Verdict(code).name: int(n) for code, n in zip(codes, counts, strict=True)})
        gets = np.isin(judged.codes[:, index], GIVEN)
        tally.cost_minor += int(gets.sum()) * policy.candidates[index].offer.cost_minor
        reached |= gets
    beaten = np.isin(judged.codes[:, own], (Verdict.OUTRANKED, Verdict.EXCLUDED)).any(axis=1)
    for index, candidate in enumerate(policy.candidates):
        if index in own:
            continue
        tally.against[candidate.campaign.name] += int((beaten & (judged.winner == index)).sum())
        # Who would have that one today gets this one instead.
        tally.beside[candidate.campaign.name] += int(
            (reached & (judged.codes[:, index] == Verdict.OUTRANKED)).sum()
        )
    return reached


def _among_running(campaign: Campaign, shop: Shop) -> Policy:
    running = [one for one in campaigns.in_effect(shop.today()) if one.pk != campaign.pk]
    return choices.beside(campaign, running)


def _priority(tally: _Tally, rule: ServicePriorityRule, frame: pl.DataFrame, today: date) -> np.ndarray:
    after, before = _with_and_without(rule)
    now, then = (_judged(frame, policy, today, None) for policy in (after, before))
    moved = now.level != then.level
    for old, new in zip(then.level[moved].tolist(), now.level[moved].tolist(), strict=True):
        tally.moves[f"{PriorityLevel(old).name}>{PriorityLevel(new).name}"] += 1
    place = [one.rule_id for one in after.priorities].index(rule.pk)
    found: np.ndarray = now.codes[:, place] == Verdict.PRIORITY_SET
    return found


def _with_and_without(rule: ServicePriorityRule) -> tuple[Policy, Policy]:
    """The priority rules in force with this one in its place, and without it."""
    others = list(
        ServicePriorityRule.objects.filter(is_active=True).exclude(pk=rule.pk).select_related("segment")
    )
    after = policies.build([], sorted([*others, rule], key=lambda one: one.position))
    return after, policies.build([], sorted(others, key=lambda one: one.position))


def _segment(tally: _Tally, segment: Segment | None, frame: pl.DataFrame) -> np.ndarray:
    assert segment is not None
    column = f"segment.{segment.slug}"
    reached: np.ndarray = (
        frame[column].to_numpy() if column in frame.columns else np.zeros(frame.height, bool)
    )
    for definition in segments.definitions():
        if definition.slug != segment.slug:
            tally.beside[definition.name] += int((frame[definition.column].to_numpy() & reached).sum())
    return reached


def _judged(frame: pl.DataFrame, policy: Policy, today: date, shop: Shop | None) -> Judged:
    ids = frame["customer_id"].to_list()
    keys = dict(_keys(ids))
    around = None
    if shop is not None and policy.counted:
        noon = hours.noon(shop, today)
        around = circumstances.read(
            ids, policy, shop=shop, today=today, now=noon, cause=Decision.Cause.BATCH, is_past=True
        )
    return judge(frame, policy, today=today, keys=[keys[key] for key in ids], around=around)


def _keys(ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    for customer in Customer.objects.filter(pk__in=ids).only("reference", "holdout_key"):
        yield customer.pk, holdouts.key_of(customer)


def _follow(tally: _Tally, ids: pl.Series, reached: np.ndarray, pinned: Pinned, horizon: int) -> None:
    """What these customers did in the days afterwards, as far as it is known."""
    from segmentation.features import store
    from segmentation.features.orders import ORDER_KINDS

    shop, cutoff = pinned.shop, pinned.as_of
    order = ids.sort()
    end = min(cutoff + timedelta(days=horizon), shop.scoring_as_of())
    events = store.read_events(order.to_list(), as_of=end, shop=shop, known_only=False, kinds=ORDER_KINDS)
    after = labels.label(
        events, cutoff=cutoff, zone=shop.zone, horizon_days=max((end - cutoff).days, 1),
        minor_per_major=shop.minor_per_major, customers=order,
    )  # fmt: skip
    chosen = pl.DataFrame({"customer_id": ids, "reached": reached}).sort("customer_id")["reached"].to_numpy()
    for side in (True, False):
        rows = after.filter(pl.Series(chosen == side))
        sums = tally.outcome[side]
        for place, value in enumerate(
            (
                rows.height,
                (rows["orders_ahead"] > 0).sum(),
                rows["orders_ahead"].sum(),
                rows["spend_ahead"].sum(),
            )
        ):
            sums[place] += float(value)


def _told(tally: _Tally, row: PolicyBacktest, day: date, share: float, shop: Shop) -> dict[str, Any]:
    def whole(count: float) -> int:
        return round(count / share)

    followed = max(0, min(row.horizon_days, (shop.scoring_as_of() - day).days - 1))
    return _budget(tally, row, share) | {
        "seen": whole(tally.seen),
        "reached": whole(tally.reached),
        "cost_minor": whole(tally.cost_minor),
        "verdicts": {name: whole(n) for name, n in tally.verdicts.most_common()},
        "beside": {name: whole(n) for name, n in tally.beside.most_common(8) if n},
        "against": {name: whole(n) for name, n in tally.against.most_common(8) if n},
        "moves": {name: whole(n) for name, n in tally.moves.most_common()},
        "outcome": {side: _rates(tally.outcome[side == "reached"], whole) for side in ("reached", "others")},
        "followed_days": followed,
    }


def _budget(tally: _Tally, row: PolicyBacktest, share: float) -> dict[str, Any]:
    """Whom the whole budget would have reached that day, where it is given by gain for the money."""
    if tally.ranked is None or row.campaign is None:
        return {}
    found = tally.ranked.margin(row.campaign.budget_minor or 0, weight=1 / share)
    return {"budget": asdict(found)}


def _rates(sums: Sequence[float], whole: Any) -> dict[str, float]:
    people, ordered, orders, spend = sums
    base = max(people, 1.0)
    return {
        "customers": whole(people),
        "ordered_share": ordered / base,
        "orders_each": orders / base,
        "spend_each": spend / base,
    }


def _first_event_day(shop: Shop) -> date | None:
    first: datetime | None = Event.objects.aggregate(at=Min("occurred_at"))["at"]
    return None if first is None else first.astimezone(shop.zone).date()


def _limits(row: PolicyBacktest, days: Sequence[date], shop: Shop) -> list[str]:
    """What a reader must know, by code (dashboard/backtest_page.py has the sentences)."""
    limits = ["selection"]
    first = _first_event_day(shop)
    if first is None or first + SHORT_HISTORY > days[0]:
        limits.append("short_history")
    if days[-1] + timedelta(days=row.horizon_days) >= shop.scoring_as_of():
        limits.append("not_over")
    if row.campaign is not None:
        limits.append("no_limits")
    if _predicts(row, shop):
        limits.append("models_of_today")
    return limits


def _predicts(row: PolicyBacktest, shop: Shop) -> bool:
    """Whether predictions have a say in whom it reaches: its own, and those of the rules it competes with."""
    if row.segment is not None:
        return any(one.predicts for one in _definitions(row) if one.slug == row.segment.slug)
    if row.priority_rule is not None:
        policy = _with_and_without(row.priority_rule)[0]
    else:
        assert row.campaign is not None
        policy = _among_running(row.campaign, shop)
    return any(is_prediction(name) for name in policy.fields_used)
