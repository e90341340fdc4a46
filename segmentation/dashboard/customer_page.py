"""Everything staff see of one customer, read in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Min
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segmentation import consents, marks, overrides, reasons, service, suggested, targets
from segmentation.dashboard import score_views, timeline, words
from segmentation.dashboard.score_views import ScoreView
from segmentation.features.baskets import IN_THE_BASKET
from segmentation.features.buying import BUYING
from segmentation.features.engagement import ENGAGEMENT
from segmentation.features.feature import Feature
from segmentation.features.outlook import OUTLOOK
from segmentation.features.texts import TEXTS
from segmentation.models import (
    AttributeValue,
    Campaign,
    Consent,
    Customer,
    CustomerFeatures,
    CustomerIdentity,
    Decision,
    DueCustomer,
    LeaseState,
    Membership,
    PriorityOverride,
    ScoreOverride,
    Shop,
    Target,
)
from segmentation.serving import TOO_FEW_ORDERS

# Features and scores know what happened before `as_of`; staff read the last day that counted.
A_DAY = timedelta(days=1)
IDENTITIES_SHOWN = 50

FAMILIES = (
    (gettext_lazy("Buying"), BUYING),
    (gettext_lazy("In the basket"), IN_THE_BASKET),
    (gettext_lazy("Browsing, reviews and service"), ENGAGEMENT),
    (gettext_lazy("What they write"), TEXTS),
    (gettext_lazy("Outlook and profile"), OUTLOOK),
)


@dataclass(frozen=True)
class Card:
    label: words.Text
    value: words.Text
    hint: str = ""


@dataclass(frozen=True)
class FeatureGroup:
    title: words.Text
    rows: tuple[tuple[str, str, str], ...]


# Offered in the question why a customer gets a campaign or not.
MOST_CAMPAIGNS = 200
MARKS_SHOWN = 5


@dataclass(frozen=True)
class Suggested:
    """Products that the customer is likely to buy next, the likeliest first."""

    name: str
    definition: str
    version_id: int
    version_number: int
    products: tuple[str, ...]


@dataclass(frozen=True)
class CustomerPage:
    """What the template shows; empty where the reader may not see the rows it comes from.

    `texts_read`: how many of the customer's own texts were opened for it. `explains`: a worker was asked for reasons.
    """

    cards: tuple[Card, ...]
    timeline: timeline.Page
    features: tuple[FeatureGroup, ...]
    features_up_to: date | None
    scores: tuple[ScoreView, ...]
    overrides: tuple[tuple[ScoreOverride, str, str], ...]
    marks: tuple[marks.Mark, ...]
    suggestions: tuple[Suggested, ...]
    explains: bool
    memberships: tuple[Membership, ...]
    decision: Decision | None
    explanation: Any
    consents: tuple[tuple[str, str, str], ...]
    identities: tuple[CustomerIdentity, ...]
    merged: tuple[tuple[int, str], ...]
    attributes: tuple[tuple[str, str], ...]
    is_waiting: bool
    has_contact: bool
    override: PriorityOverride | None
    campaigns: tuple[tuple[int, str], ...]
    texts_read: int


def build(customer: Customer, user: Any, query: Mapping[str, str]) -> CustomerPage:
    """Read the page of `customer` for `user`; `query` holds the timeline's cursor and filter."""
    shop = Shop.get()
    merged = tuple(customer.merged_from.order_by("reference").values_list("pk", "reference"))
    people = [customer.pk, *(key for key, _reference in merged)]

    def sees(model: str) -> bool:
        return bool(user.has_perm(f"segmentation.view_{model}"))

    events = timeline.read(people, query, shop=shop, with_events=sees("event"), with_texts=sees("eventtext"))
    groups, up_to = _features(customer, shop)
    decided = Decision.objects.select_related("campaign", "offer", "policy", "snapshot")
    decision = decided.filter(customer=customer).order_by("-id").first()
    said = overrides.of_customer(customer)
    return CustomerPage(
        cards=tuple(_cards(customer, shop, said)),
        timeline=events,
        features=groups,
        features_up_to=up_to,
        scores=score_views.of_customer(customer, shop, said),
        overrides=tuple((row, str(words.tier(row.label)), score_views.set_by(row)) for row in said),
        marks=tuple(marks.history(customer)[:MARKS_SHOWN]),
        suggestions=tuple(_suggested(customer)) if sees("score") and customer.is_profiled else (),
        explains=reasons.ask(customer.pk),
        memberships=tuple(
            Membership.objects.filter(customer=customer).select_related("segment").order_by("segment__name")
        ),
        decision=decision,
        explanation=_explain(decision),
        consents=tuple(_consents(customer)) if sees("consent") else (),
        identities=tuple(_identities(people)) if sees("customeridentity") else (),
        merged=merged,
        attributes=tuple(_attributes(people, shop)),
        is_waiting=DueCustomer.objects.filter(
            customer=customer, state__in=[LeaseState.QUEUED, LeaseState.RUNNING]
        ).exists(),
        override=service.override_of(customer, timezone.now()),
        campaigns=tuple(
            Campaign.objects.exclude(status=Campaign.Status.ENDED)
            .order_by("-priority", "name")
            .values_list("pk", "name")[:MOST_CAMPAIGNS]
        ),
        has_contact=sees("contactdata") and hasattr(customer, "contact"),
        texts_read=events.texts_read,
    )


def abstained_because(customer: Customer) -> str:
    """Why there is no score of behaviour, with the numbers behind it."""
    needed = None
    if customer.abstain_reason == TOO_FEW_ORDERS:
        behaviour = Target.objects.filter(is_active=True).exclude(kind=Target.Kind.CATEGORY)
        needed = behaviour.aggregate(least=Min("min_orders"))["least"]
    return str(words.abstain(customer.abstain_reason, orders=customer.orders, needed=needed))


def _cards(customer: Customer, shop: Shop, said: Sequence[ScoreOverride]) -> Iterable[Card]:
    abstained = abstained_because(customer) if customer.abstain_reason else ""
    if any(row.target.kind == Target.Kind.VALUE_TIER for row in said):
        abstained = _("set by staff")
    yield Card(_("Value tier"), words.tier(customer.tier), abstained)
    yield Card(_("Risk"), words.risk(customer.churn_probability))
    yield Card(_("Expected spend"), words.money(customer.future_value_minor, shop.base_currency, whole=True))
    offer = customer.current_offer
    yield Card(_("Current offer"), offer.name if offer else _("none"))
    yield Card(_("Service priority"), customer.get_priority_display())
    spent = words.money(customer.spent_minor, shop.base_currency, whole=True)
    yield Card(_("Orders"), words.number(customer.orders), _("%(spent)s spent") % {"spent": spent})
    first = words.day(customer.first_order_at, shop)
    yield Card(_("Last order"), words.day(customer.last_order_at, shop), _("first: %(day)s") % {"day": first})


def _features(customer: Customer, shop: Shop) -> tuple[tuple[FeatureGroup, ...], date | None]:
    from segmentation.features import store

    stored = CustomerFeatures.objects.filter(customer=customer).values_list("as_of", flat=True).first()
    if stored is None:
        return (), None
    frame = store.read_features([customer.pk])
    if frame.is_empty():
        return (), None
    values = frame.row(0, named=True)
    groups = (FeatureGroup(title, tuple(_feature_rows(family, values, shop))) for title, family in FAMILIES)
    return tuple(group for group in groups if group.rows), stored - A_DAY


def _feature_rows(
    family: Iterable[Feature], values: Mapping[str, Any], shop: Shop
) -> Iterable[tuple[str, str, str]]:
    """(label, value, sentence) of every feature that is defined for the customer."""
    for feature in family:
        value = values.get(feature.name)
        if value is None or value != value:
            continue
        said = words.feature(value, feature.unit, shop)
        yield str(feature.label), said, feature.say(said)


def _explain(decision: Decision | None) -> Any:
    if decision is None:
        return None
    from segmentation import decisions

    return decisions.explain(decision)


def _suggested(customer: Customer) -> Iterable[Suggested]:
    for target, version, products in suggested.of_customer(customer.pk):
        names = tuple(str(product) for product, _score in products)
        yield Suggested(target.name, targets.definition(target), version.pk, version.number, names)


def _identities(people: list[int]) -> Iterable[CustomerIdentity]:
    rows = CustomerIdentity.objects.filter(customer__in=people)
    return rows.order_by("namespace", "value")[:IDENTITIES_SHOWN]


def _consents(customer: Customer) -> Iterable[tuple[str, str, str]]:
    """(purpose, answer, tone): also where nobody answered."""
    answers = consents.current([customer.pk])
    for purpose in Consent.Purpose:
        status = answers.get((customer.pk, purpose.value))
        if status is None:
            yield str(purpose.label), _("never answered"), "plain"
        else:
            yield (
                str(purpose.label),
                str(Consent.Status(status).label),
                "good" if status == "granted" else "bad",
            )


def _attributes(people: list[int], shop: Shop) -> Iterable[tuple[str, str]]:
    """The newest value of each of the shop's own columns."""
    rows = AttributeValue.objects.filter(customer__in=people).select_related("definition")
    newest: dict[int, AttributeValue] = {}
    for row in rows.order_by("valid_from", "id"):
        newest[row.definition_id] = row
    for row in newest.values():
        yield row.definition.label, _attribute_words(row)


def _attribute_words(row: AttributeValue) -> str:
    if row.text is not None or row.number is None:
        return words.plain(row.text)
    if row.definition.kind == "boolean":
        return words.plain(bool(row.number))
    if row.definition.kind == "date":
        return words.day(date(1970, 1, 1) + timedelta(days=row.number))
    return words.plain(row.number)
