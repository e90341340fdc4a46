from datetime import date

import polars as pl
import pytest
from django.db.models import Count, Sum

from segmentation import imports, simulator
from segmentation.kinds import EventKind
from segmentation.models import (
    AttributeDefinition,
    AttributeValue,
    Consent,
    ContactData,
    Customer,
    Event,
    EventText,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    config = simulator.SimulationConfig(customers=60, months=6, seed=3, end=date(2024, 6, 1))
    return simulator.simulate(config, tmp_path_factory.mktemp("shop"))


@pytest.fixture
def imported(shop, files):
    events = imports.run(imports.Request(files.events, preset="tierwise"))
    customers = imports.run(imports.Request(files.customers, kind="customers", preset="tierwise"))
    return events, customers


def test_every_line_of_the_simulated_shop_with_a_customer_comes_in(imported, files):
    events, customers = imported
    lines = pl.read_parquet(files.events)
    known = lines.filter(pl.col("customer_id").is_not_null())

    assert (events.rows_imported, events.rows_rejected, customers.rows_rejected) == (len(known), 0, 0)
    assert events.rows_skipped == len(lines) - len(known)
    assert Event.objects.count() == known["event_id"].n_unique()
    stored = dict(Event.objects.values_list("kind").annotate(n=Count("id")))
    for slug, frame in known.group_by("kind"):
        assert stored[EventKind.from_slug(str(slug[0]))] == frame["event_id"].n_unique()


def test_money_is_quantity_times_price_less_discount_to_the_penny(imported, files):
    orders = pl.read_parquet(files.events).filter(
        pl.col("customer_id").is_not_null() & (pl.col("kind") == "order_placed")
    )
    pennies = orders.select(
        paid=(
            pl.col("quantity") * (pl.col("unit_price") * 100).round().cast(pl.Int64)
            - (pl.col("discount") * 100).round().cast(pl.Int64)
        ).sum(),
        discount=(pl.col("discount") * 100).round().cast(pl.Int64).sum(),
        units=pl.col("quantity").sum(),
    ).row(0)

    sums = Event.objects.filter(kind=EventKind.ORDER_PLACED).aggregate(
        paid=Sum("amount_minor"), discount=Sum("discount_minor"), units=Sum("quantity")
    )
    assert (sums["paid"], sums["discount"], sums["units"]) == pennies


def test_words_contacts_consents_and_the_shops_own_columns_come_in(imported, files):
    people = pl.read_parquet(files.customers)
    said = pl.read_parquet(files.events).filter(
        pl.col("text").is_not_null() & pl.col("customer_id").is_not_null()
    )

    assert Customer.objects.count() == len(people)
    assert ContactData.objects.exclude(sealed=b"").count() == len(people)
    assert EventText.objects.count() == len(said)
    answered = people.filter(pl.col("marketing_consent").is_in(["granted", "denied"]))
    assert Consent.objects.filter(purpose="marketing").count() == len(answered)
    label = AttributeDefinition.objects.get(slug="shopper_type")
    assert (label.kind, label.is_label, set(label.choices)) == (
        "choice",
        True,
        set(people["shopper_type"].drop_nulls()),
    )
    value = AttributeValue.objects.filter(definition=label).select_related("customer").first()
    assert value.valid_from == value.customer.signed_up_at


def test_a_customers_channel_is_that_of_the_customer_file(imported, files):
    people = pl.read_parquet(files.customers)

    assert dict(Customer.objects.values_list("reference", "channel")) == dict(
        people.select("customer_id", "channel").iter_rows()
    )


def test_both_files_again_add_nothing(imported, files):
    events = imports.run(imports.Request(files.events, preset="tierwise"))
    customers = imports.run(imports.Request(files.customers, kind="customers", preset="tierwise"))

    assert (events.rows_imported, events.events_created) == (0, 0)
    assert (customers.rows_imported, customers.customers_created) == (0, 0)
