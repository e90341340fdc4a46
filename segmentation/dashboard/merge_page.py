"""What a merge or a split of customers will change, before anybody says yes. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils.translation import gettext as _

from segmentation import consents, holdouts, identities
from segmentation.dashboard import words
from segmentation.dashboard.words import Text
from segmentation.kinds import EventKind
from segmentation.models import Consent, Customer, CustomerIdentity, Decision, Event, Redemption, Shop

IDENTITIES_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """One line: each customer as it is, and the one (or two) that there will be. `changes` marks what moves."""

    label: Text
    cells: tuple[Text, ...]
    changes: bool = False


@dataclass(frozen=True)
class Preview:
    """`stamp` changes when the customers do: who confirms an older one is shown the new one."""

    headers: tuple[Text, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    stamp: str


@dataclass(frozen=True)
class _Facts:
    """What is known of a person and whoever was merged into them before."""

    customer: Customer
    people: tuple[int, ...]
    ids: tuple[str, ...]
    orders: int
    spent: int
    used: int
    answers: Mapping[str, str]


def merge(survivor: Customer, other: Customer) -> Preview:
    """Both as they are and the survivor as it will be. Raises identities.MergeError where they cannot be merged."""
    identities.check_pair(survivor, other)
    shop = Shop.get()
    mine, theirs = _facts(survivor), _facts(other)
    filled = identities.merged_values(survivor, other)
    rows = [
        _row(
            _("known as"),
            _list(mine.ids),
            _list(theirs.ids),
            _list((*mine.ids, *theirs.ids)),
        ),
        *_sums(mine, theirs, shop),
        *_results(survivor, other),
        *_consents(mine, theirs),
        *_values(survivor, other, filled),
        *_holdout(survivor, other, filled["holdout_key"]),
    ]
    headers = (
        survivor.reference,
        other.reference,
        _("after the merge: %(name)s") % {"name": survivor.reference},
    )
    return Preview(headers, tuple(rows), tuple(_notes(other)), stamp(survivor, other))


def split(other: Customer) -> Preview:
    """The survivor as it is, and both as they will be. Raises identities.MergeError where nothing is to be split."""
    entry = identities.merge_entry(other)
    if other.merged_into is None or entry is None:
        raise identities.MergeError(
            _("Customer %(customer)s is not merged into another.") % {"customer": other.reference}
        )
    survivor, shop = other.merged_into, Shop.get()
    leaves = {other.pk, *entry.detail["followers"]}
    whole = _facts(survivor)
    gone = _facts(other, only=sorted(leaves))
    left = _facts(survivor, only=[key for key in whole.people if key not in leaves])
    back = (
        identities.restored_values(survivor, entry.detail) if survivor.pk == entry.detail["survivor"] else {}
    )
    rows = [
        Row(_("known as"), (_list(whole.ids), _list(left.ids), _list(gone.ids)), changes=True),
        Row(
            _("orders placed"),
            tuple(words.number(one.orders) for one in (whole, left, gone)),
            bool(gone.orders),
        ),
        Row(_("paid for them"), tuple(_money(one, shop) for one in (whole, left, gone)), bool(gone.spent)),
        Row(
            _("value tier"),
            (words.tier(survivor.tier), _("worked out anew"), _("worked out anew")),
            changes=True,
        ),
        *(
            Row(label, (_answer(whole, purpose), _answer(left, purpose), _answer(gone, purpose)))
            for purpose, label in Consent.Purpose.choices
        ),
        *(
            Row(
                _label(name),
                (_value(getattr(survivor, name)), _value(value), _value(getattr(other, name))),
                True,
            )
            for name, value in back.items()
            if name != "holdout_key"
        ),
        *_split_holdout(survivor, other, back),
    ]
    headers = (
        _("now: %(name)s") % {"name": survivor.reference},
        _("after the split: %(name)s") % {"name": survivor.reference},
        _("after the split: %(name)s") % {"name": other.reference},
    )
    notes = [_("No event moves: each customer has its own ones again, newer ones too.")]
    if followers := len(entry.detail["followers"]):
        notes.append(_("%(count)s who had been merged into it before go with it.") % {"count": followers})
    return Preview(headers, tuple(rows), tuple(notes), stamp(survivor, other))


def stamp(*customers: Customer) -> str:
    return "-".join(f"{customer.pk}.{customer.input_version}" for customer in customers)


def _facts(customer: Customer, *, only: Sequence[int] | None = None) -> _Facts:
    """`only`: count these people and not everybody merged into the customer."""
    people = only or [customer.pk, *customer.merged_from.order_by("pk").values_list("pk", flat=True)]
    named = CustomerIdentity.objects.filter(customer__in=people).order_by("namespace", "value")
    ids = [f"{row.namespace}: {row.value}" for row in named[:IDENTITIES_SHOWN]]
    placed = Q(kind=EventKind.ORDER_PLACED, superseded_at=None)
    sums = Event.objects.filter(placed, customer__in=people).aggregate(
        orders=Count("order_key", distinct=True), spent=Sum("amount_minor")
    )
    return _Facts(
        customer,
        tuple(people),
        tuple(ids or [customer.reference]),
        sums["orders"],
        sums["spent"] or 0,
        Redemption.objects.filter(customer__in=people).count(),
        _strictest(consents.alone(people)),
    )


def _strictest(answers: consents.Answers) -> dict[str, str]:
    """One refusal refuses for all."""
    found: dict[str, str] = {}
    for (_customer, purpose), answer in answers.items():
        denied = Consent.Status.DENIED in {answer, found.get(purpose)}
        found[purpose] = str(Consent.Status.DENIED if denied else answer)
    return found


def _row(label: Text, mine: Text, theirs: Text, after: Text) -> Row:
    return Row(label, (mine, theirs, after), changes=str(after) != str(mine))


def _sums(mine: _Facts, theirs: _Facts, shop: Shop) -> list[Row]:
    total = words.money(mine.spent + theirs.spent, shop.base_currency)
    counts = [
        (_("orders placed"), mine.orders, theirs.orders),
        (_("offers used, counted for limits"), mine.used, theirs.used),
    ]
    return [
        *(_row(label, words.number(a), words.number(b), words.number(a + b)) for label, a, b in counts[:1]),
        _row(_("paid for them"), _money(mine, shop), _money(theirs, shop), total),
        *(_row(label, words.number(a), words.number(b), words.number(a + b)) for label, a, b in counts[1:]),
    ]


def _results(survivor: Customer, other: Customer) -> list[Row]:
    """What scoring and deciding will say anew; until then the survivor keeps what it has."""
    anew = _("worked out anew")
    newest = {
        customer.pk: Decision.objects.filter(customer=customer)
        .select_related("offer")
        .order_by("-pk")
        .first()
        for customer in (survivor, other)
    }

    def offer(customer: Customer) -> str:
        decision = newest[customer.pk]
        return decision.offer.name if decision is not None and decision.offer else _("none")

    return [
        Row(_("value tier"), (words.tier(survivor.tier), words.tier(other.tier), anew), changes=True),
        Row(_("current offer"), (offer(survivor), offer(other), _("decided anew")), changes=True),
        Row(
            _("service priority"),
            (survivor.get_priority_display(), other.get_priority_display(), _("decided anew")),
            changes=True,
        ),
    ]


def _consents(mine: _Facts, theirs: _Facts) -> list[Row]:
    """The strictest of both."""
    rows = []
    for purpose, label in Consent.Purpose.choices:
        answers = {
            (number, purpose): facts.answers[purpose]
            for number, facts in enumerate((mine, theirs))
            if purpose in facts.answers
        }
        after = _strictest(answers).get(purpose)
        rows.append(_row(label, _answer(mine, purpose), _answer(theirs, purpose), _status(after)))
    return rows


def _values(survivor: Customer, other: Customer, filled: Mapping[str, Any]) -> list[Row]:
    return [
        _row(
            _label(name), _value(getattr(survivor, name)), _value(getattr(other, name)), _value(filled[name])
        )
        for name in ("country", "channel", "time_zone", "signed_up_at")
        if getattr(survivor, name) or getattr(other, name)
    ]


def _holdout(survivor: Customer, other: Customer, key: str) -> list[Row]:
    """The draw of whoever has been known for longer counts for both."""
    kept = key or survivor.reference
    return [
        _row(
            _("in a holdout"),
            _held(holdouts.key_of(survivor)),
            _held(holdouts.key_of(other)),
            _held(kept) + " " + _("(drawn as %(key)s)") % {"key": kept},
        )
    ]


def _split_holdout(survivor: Customer, other: Customer, back: Mapping[str, Any]) -> list[Row]:
    later = back["holdout_key"] or survivor.reference if "holdout_key" in back else holdouts.key_of(survivor)
    cells = (_held(holdouts.key_of(survivor)), _held(later), _held(holdouts.key_of(other)))
    return [Row(_("in a holdout"), cells, changes="holdout_key" in back)]


def _held(key: str) -> str:
    held = [draw for draw in holdouts.current_draws().values() if holdouts.is_held_out(draw, key)]
    return _("yes") if held else _("no")


def _notes(other: Customer) -> list[str]:
    notes = [
        _("No event moves, so a split undoes the merge exactly."),
        _("Segments, scores and the decision are worked out anew at once; %(name)s leaves its segments.")
        % {"name": other.reference},
    ]
    if followers := other.merged_from.count():
        notes.append(_("%(count)s who had been merged into it before come along.") % {"count": followers})
    return notes


def _label(name: str) -> Text:
    return Customer._meta.get_field(name).verbose_name  # type: ignore[union-attr]


def _value(value: Any) -> str:
    return words.day(value) if hasattr(value, "astimezone") else words.plain(value)


def _money(facts: _Facts, shop: Shop) -> str:
    return words.money(facts.spent, shop.base_currency)


def _answer(facts: _Facts, purpose: str) -> Text:
    return _status(facts.answers.get(purpose))


def _status(answer: str | None) -> Text:
    return _("never answered") if answer is None else str(Consent.Status(answer).label)


def _list(ids: Sequence[str]) -> str:
    return ", ".join(ids)
