"""What a promotion would change, as tables in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import promotion_diffs
from segmentation.dashboard import charts, words
from segmentation.dashboard.words import Text
from segmentation.models import PromotionDiff, Shop

VALUE_WORDS: Mapping[str, Text] = {
    "less": gettext_lazy("expected to spend less by more than a quarter"),
    "same": gettext_lazy("expected to spend about as much"),
    "more": gettext_lazy("expected to spend more by more than a quarter"),
    promotion_diffs.NO_SCORE: gettext_lazy("no score"),
}


@dataclass(frozen=True)
class Person:
    """A customer for whom something would change: their page, and what, in words."""

    pk: int
    reference: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class DiffPage:
    summary: tuple[str, ...]
    moves: charts.Table | None
    offers: charts.Table | None
    priorities: charts.Table | None
    people: tuple[Person, ...]


def build(diff: PromotionDiff, shop: Shop) -> DiffPage | None:
    """None until a worker has worked it out."""
    found = diff.result
    if found is None:
        return None
    return DiffPage(
        summary=tuple(_summary(found, shop)),
        moves=_move_table(_("Class"), [row for row in found["moves"] if row[0] != row[1]], _class_words),
        offers=_offer_table(found["offers"]),
        priorities=_move_table(_("Service priority"), found["priorities"], promotion_diffs.level_words),
        people=tuple(_person(row) for row in found["people"]),
    )


def _summary(found: Mapping[str, Any], shop: Shop) -> Iterator[str]:
    if "lists" in found:
        yield _(
            "%(count)s customers have a list of products; all of them are written anew with the next classification. "
            "No class, offer or priority depends on them."
        ) % {"count": words.number(found["lists"])}
        return
    if found["looked_at"] == found["total"]:
        yield _("All %(total)s classified customers were looked at.") % {
            "total": words.number(found["total"])
        }
    else:
        yield _("%(looked)s of %(total)s classified customers were looked at; ± is a 95 %% interval.") % {
            "looked": words.number(found["looked_at"]),
            "total": words.number(found["total"]),
        }
    yield _("%(count)s would change class.") % {"count": _within(found["changed"], found["margin"])}
    if found["sums"]:
        before, after = (words.major(amount, shop.base_currency) for amount in found["sums"])
        yield _("Expected spend of all customers: %(before)s before, %(after)s after.") % {
            "before": before,
            "after": after,
        }
    before, after, margin = found["cost_minor"]
    yield _("Offers would cost %(after)s instead of %(before)s (%(change)s).") % {
        "before": words.money(before, shop.base_currency),
        "after": words.money(after, shop.base_currency),
        "change": _signed_money(after - before, margin, shop),
    }


def _signed_money(change: int, margin: int, shop: Shop) -> str:
    text = ("+" if change > 0 else "") + words.money(change, shop.base_currency)
    return f"{text} ± {words.money(margin, shop.base_currency)}" if margin else text


def _within(count: int, margin: int) -> str:
    return f"{words.number(count)} ± {words.number(margin)}" if margin else words.number(count)


def _move_table(title: str, rows: list[Any], say: Any) -> charts.Table | None:
    if not rows:
        return None
    told = tuple(
        (f"{say(before)} → {say(after)}", _within(count, margin)) for before, after, count, margin in rows
    )
    return charts.Table((title, _("customers")), told)


def _offer_table(rows: list[Any]) -> charts.Table | None:
    if not rows:
        return None
    headers = (_("Offer"), _("now"), _("after"), _("gain it"), _("lose it"), "±")
    return charts.Table(
        headers, tuple((name, *(words.number(number) for number in numbers)) for name, *numbers in rows)
    )


def _class_words(name: str) -> str:
    if name in VALUE_WORDS:
        return str(VALUE_WORDS[name])
    bands = {band.slug: band.words for band in words.RISK_BANDS}
    return str(bands.get(name) or words.tier(name))


def _person(row: list[Any]) -> Person:
    pk, reference, *told = row
    say_each: tuple[Callable[[Any], str], ...] = (_class_words, _offer_words, promotion_diffs.level_words)
    pairs = zip(told[::2], told[1::2], say_each, strict=True)
    changes = tuple(f"{say(before)} → {say(after)}" for before, after, say in pairs if before != after)
    return Person(pk, reference, changes)


def _offer_words(name: str) -> str:
    return name or _("no offer")
