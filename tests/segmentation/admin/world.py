"""A shop that has lived a little: customers with results, segments, campaigns, versions, runs."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.urls import reverse

from segmentation import contacts, roles, targets
from segmentation.kinds import EventKind
from segmentation.models import (
    Alert,
    Campaign,
    CampaignRule,
    Category,
    Customer,
    Event,
    EventItem,
    EventSource,
    HoldoutGroup,
    ImportRun,
    Membership,
    MembershipCause,
    ModelSlot,
    ModelVersion,
    Offer,
    PastMembership,
    Product,
    Score,
    ScoringRun,
    ScoringShard,
    Segment,
    SegmentVersion,
    ServicePriorityRule,
    Target,
    TrainingRun,
)

AS_OF = date(2024, 6, 2)
AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
RULE = {"all": [{"field": "customer.country", "op": "is", "value": "France"}]}
_numbers = itertools.count(1)


def page(name, *args):
    return reverse(f"admin:segmentation_{name}", args=args)


def person(role: str) -> User:
    """A member of staff with one of the roles."""
    roles.install()
    user = User.objects.create_user(f"{role}-{next(_numbers)}".replace(" ", "-").lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def segment(name="French", *, rule=RULE) -> Segment:
    made = Segment.objects.create(slug=f"s{next(_numbers)}", name=name, member_count=1)
    made.version = SegmentVersion.objects.create(segment=made, number=1, rule=rule)
    made.save()
    return made


def offer(name="Ten percent") -> Offer:
    return Offer.objects.create(
        slug=f"o{next(_numbers)}",
        name=name,
        kind=Offer.Kind.PERCENTAGE,
        percentage=10,
        text="x",
        valid_days=10,
    )


def campaign(whom: Segment, gives: Offer, **fields) -> Campaign:
    made = Campaign.objects.create(slug=f"c{next(_numbers)}", name="Win back", **fields)
    CampaignRule.objects.create(campaign=made, position=1, segment=whom, offer=gives)
    return made


def customer(reference="", *, segments=(), **fields) -> Customer:
    number = next(_numbers)
    given = {"tier": "high", "churn_probability": 0.82, "future_value_minor": 12345, "country": "France"}
    made = Customer.objects.create(reference=reference or f"K{number}", **{**given, **fields})
    for one in segments:
        Membership.objects.create(segment=one, customer=made)
    return made


def customers(count: int, **fields) -> list[Customer]:
    return [customer(**fields) for _ in range(count)]


def order(of: Customer, *, at=AT, amount_minor=5000, kind=EventKind.ORDER_PLACED) -> Event:
    source, _ = EventSource.objects.get_or_create(slug="shop")
    event = Event.objects.create(
        customer=of, kind=kind, occurred_at=at, source=source, source_key=f"e{next(_numbers)}",
        amount_minor=amount_minor, quantity=1, line_count=1,
    )  # fmt: skip
    category, _ = Category.objects.get_or_create(name="Candles", defaults={"number": 1})
    product, _ = Product.objects.get_or_create(
        external_id="P1", defaults={"name": "Beeswax candle", "category": category}
    )
    EventItem.objects.create(event=event, product=product, quantity=1, amount_minor=amount_minor)
    return event


def figures(primary="auc", value=0.78):
    def one(shown):
        return {"value": shown, "low": shown - 0.01, "high": shown + 0.01}

    return {
        "kind": "binary",
        "rows": 1000,
        "primary": primary,
        "metrics": {primary: one(value), "log_loss": one(0.56)},
        "baselines": {"btyd": {primary: one(value - 0.02), "log_loss": one(0.58)}},
        "differences": {
            "btyd": {
                primary: {"value": 0.02, "low": 0.01, "high": 0.03},
                "log_loss": {"value": -0.02, "low": -0.03, "high": -0.01},
            }
        },
        "curves": {
            "roc": {"false_positive_rate": [0, 0.2, 1], "true_positive_rate": [0, 0.7, 1]},
            "precision_recall": {"recall": [0.1, 1], "precision": [0.9, 0.5]},
            "reliability": [{"predicted": 0.2, "observed": 0.25, "rows": 100}],
            "gains": [{"decile": 1, "rows": 100, "predicted": 0.9, "actual": 0.8, "gain": 0.4, "lift": 4.0}],
            "confusion": [[400, 100], [120, 380]],
        },
        "subgroups": {"orders": {"1": {"rows": 300, primary: 0.7}}},
    }


def version(number: int, *, serves=("churn",), value=0.78) -> ModelVersion:
    wanted = [target for target in targets.install() if target.slug in serves]
    made = ModelVersion.objects.create(
        number=number,
        algorithm="blend",
        evaluation={target.slug: figures(value=value) for target in wanted},
        data_snapshot={"rows": 4000, "cutoffs": ["2024-01-01"]},
        features=["orders_90d"],
        catalogue_version="x",
        artifact_sha256="ab" * 32,
        artifact_bytes=2048,
    )
    made.targets.set(wanted)
    return made


def champion(made: ModelVersion, slug="churn") -> ModelSlot:
    slot, _ = ModelSlot.objects.get_or_create(target=Target.objects.get(slug=slug))
    slot.champion = made
    slot.save()
    return slot


def shop_with_everything() -> dict[str, int]:
    """At least one row of everything that has a page; the page's name to its row's id."""
    cache.clear()
    whom, gives = segment(), offer()
    buyer = customer(
        "K-100", segments=[whom], current_offer=gives, last_order_at=AT, orders=1, spent_minor=5000
    )
    contacts.write(buyer, contacts.Contact(email="eva@example.com", first_name="Eva", last_name="Muster"))
    order(buyer)
    PastMembership.objects.create(
        segment=whom,
        customer=buyer,
        entered_at=AT,
        entered_by=MembershipCause.BATCH,
        left_by=MembershipCause.EVENT,
    )
    served = version(1)
    champion(served)
    churn = Target.objects.get(slug="churn")
    Score.objects.create(customer=buyer, target=churn, version=served, as_of=AS_OF, value=0.82)
    run = TrainingRun.objects.create(preset="fast", epochs=[], progress=0.4, state="running", started_at=AT)
    run.targets.add(churn, through_defaults={"is_active": True})
    scoring = ScoringRun.objects.create(as_of=AS_OF, customers=10, pinned_versions={"churn": served.pk})
    ScoringShard.objects.create(run=scoring, number=1, first_id=1, last_id=9, scored=4)
    alert = Alert.objects.create(key="k", message="Look here")
    return {
        "alert": alert.pk,
        "campaign": campaign(whom, gives).pk,
        "customer": buyer.pk,
        "holdoutgroup": HoldoutGroup.objects.create(percent=5, salt="s").pk,
        "importrun": ImportRun.objects.create(kind="events", file_name="orders.csv").pk,
        "modelversion": served.pk,
        "offer": gives.pk,
        "scoringrun": scoring.pk,
        "segment": whom.pk,
        "servicepriorityrule": ServicePriorityRule.objects.create(
            position=1, name="VIP", level=4, segment=whom
        ).pk,
        "shop": 1,
        "target": churn.pk,
        "trainingrun": run.pk,
        "product": Product.objects.get().pk,
    }


def history(of: Customer, orders: int) -> None:
    """One order a day, the last at AT."""
    for number in range(orders):
        order(of, at=AT - timedelta(days=number))
