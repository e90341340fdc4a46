"""Contact data that can reach nobody, and consent with its time."""

from __future__ import annotations

import polars as pl

from segmentation.simulator.people import CUSTOMER_COLUMNS

FICTIONAL = (
    r"^(\+447700900\d{3}|\+493023125\d{3}|\+3363998\d{4}|\+3532091\d{5}|\+120255501\d{2}|\+161355501\d{2})$"
)


def test_the_columns_are_those_of_the_customer_import(world):
    assert world.customers.schema == pl.Schema(CUSTOMER_COLUMNS)


def test_there_is_one_row_for_each_customer_and_every_known_event_has_its_customer(world):
    ids = world.customers["customer_id"]
    assert ids.n_unique() == world.config.customers
    assert set(world.events["customer_id"].drop_nulls()) <= set(ids)
    assert world.truth["customer_id"].equals(ids)


def test_mail_goes_to_reserved_domains_only_and_no_address_twice(world):
    mail = world.customers["email"]
    assert mail.str.contains(r"^[a-z]+\.[a-z]+\d+@example\.(com|org|net)$").all()
    assert mail.n_unique() == len(mail)


def test_telephone_numbers_lie_in_ranges_kept_for_fiction(world):
    phones = world.customers["phone"].drop_nulls()
    assert phones.str.contains(FICTIONAL).all()
    assert 0.6 < len(phones) / world.config.customers < 0.8


def test_consent_has_a_time_unless_unknown_and_never_before_the_sign_up(world):
    consent = world.customers.select("marketing_consent", "marketing_consent_at", "signed_up_at")
    unknown = consent["marketing_consent"] == "unknown"
    assert set(consent["marketing_consent"]) == {"granted", "denied", "unknown"}
    assert (consent["marketing_consent_at"].is_null() == unknown).all()
    known = consent.filter(~unknown)
    assert (known["marketing_consent_at"] >= known["signed_up_at"]).all()
    assert known["marketing_consent_at"].max() < world.config.end_at


def test_customers_join_before_and_during_the_window_and_are_grown_up(world):
    joined = world.customers["signed_up_at"].dt.date()
    before = (joined < world.config.start).mean()
    age = (world.customers["signed_up_at"].dt.date() - world.customers["birthday"]).dt.total_days() / 365.25
    assert 0.15 < before < 0.3
    assert joined.max() < world.config.end
    assert age.min() > 17.9
    assert age.max() < 89


def test_no_event_precedes_the_sign_up(world):
    first = world.events.drop_nulls("customer_id").group_by("customer_id").agg(pl.col("occurred_at").min())
    both = first.join(world.customers, on="customer_id")
    early = pl.col("occurred_at") < pl.col("signed_up_at") - pl.duration(seconds=60)
    assert both.filter(early).height == 0
