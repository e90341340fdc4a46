from datetime import UTC, datetime

import pytest

from segmentation import consents, identities
from segmentation.models import (
    AuditEntry,
    Consent,
    Customer,
    CustomerIdentity,
    DueCustomer,
    Event,
    EventSource,
)

pytestmark = pytest.mark.django_db
T0 = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def pair(shop):
    older = Customer.objects.create(
        reference="old", created_at=datetime(2020, 1, 1, tzinfo=UTC), country="GB"
    )
    newer = Customer.objects.create(
        reference="new", created_at=datetime(2023, 1, 1, tzinfo=UTC), channel="shop", signed_up_at=T0
    )
    return newer, older  # the newer one survives


def fresh(customer):
    return Customer.objects.get(pk=customer.pk)


def test_resolve_knows_identities_and_the_shops_own_references(pair):
    newer, _older = pair
    CustomerIdentity.objects.create(customer=newer, namespace="crm", value="77")

    assert identities.resolve("crm", "77") == newer
    assert identities.resolve("shop", "new") == newer
    assert identities.resolve("crm", "new") is None


def test_resolve_answers_the_survivor(pair):
    identities.merge(*pair)

    assert identities.resolve("shop", "old").reference == "new"


def test_a_merge_moves_no_event_and_marks_the_survivor_due(pair):
    survivor, other = pair
    source = EventSource.objects.create(slug="s")
    event = Event.objects.create(customer=other, kind=1, occurred_at=T0, source=source, source_key="k")

    identities.merge(survivor, other)

    assert Event.objects.get(pk=event.pk).customer == other
    assert fresh(other).merged_into == survivor
    assert DueCustomer.objects.get().customer == survivor


def test_the_survivor_keeps_its_values_and_takes_what_it_lacks(pair):
    survivor, other = pair
    identities.merge(survivor, other)

    assert (fresh(survivor).country, fresh(survivor).channel) == ("GB", "shop")


def test_the_older_one_keeps_its_place_in_the_holdout_draws(pair):
    survivor, other = pair
    identities.merge(survivor, other)

    assert fresh(survivor).holdout_key == "old"


def test_an_older_survivor_keeps_its_own_place(pair):
    newer, older = pair
    identities.merge(older, newer)

    assert fresh(older).holdout_key == ""


def test_the_strictest_consent_counts_while_merged(pair):
    survivor, other = pair
    Consent.objects.create(customer=survivor, purpose="profiling", status="granted", decided_at=T0)
    Consent.objects.create(
        customer=other, purpose="profiling", status="denied", decided_at=T0.replace(year=2019)
    )

    identities.merge(survivor, other)
    assert not fresh(survivor).is_profiled
    assert consents.current([survivor.pk])[survivor.pk, "profiling"] == "denied"

    identities.split(other)
    assert fresh(survivor).is_profiled
    assert not fresh(other).is_profiled


def test_a_split_undoes_a_merge_exactly(pair):
    survivor, other = pair
    columns = ("country", "channel", "time_zone", "signed_up_at", "holdout_key", "merged_into", "is_profiled")
    before = list(Customer.objects.order_by("pk").values_list(*columns))

    identities.merge(survivor, other)
    identities.split(other)

    assert list(Customer.objects.order_by("pk").values_list(*columns)) == before
    assert {due.customer.reference for due in DueCustomer.objects.all()} == {"old", "new"}


def test_a_split_keeps_what_was_changed_after_the_merge(pair):
    survivor, other = pair
    identities.merge(survivor, other)
    Customer.objects.filter(pk=survivor.pk).update(country="FR")

    identities.split(other)

    assert fresh(survivor).country == "FR"


def test_a_chain_of_merges_leads_to_the_survivor_in_one_step_and_splits_back(pair):
    middle, first = pair
    last = Customer.objects.create(reference="last")
    identities.merge(middle, first)

    identities.merge(last, middle)
    assert fresh(first).merged_into == last

    identities.split(middle)
    assert fresh(first).merged_into == middle
    assert fresh(middle).merged_into is None


def test_merging_again_after_a_split_can_be_undone_too(pair):
    survivor, other = pair
    identities.merge(survivor, other)
    identities.split(other)
    identities.merge(survivor, other)

    identities.split(other)

    assert fresh(other).merged_into is None


def test_no_merge_into_oneself_nor_of_somebody_merged_already(pair):
    survivor, other = pair
    with pytest.raises(identities.MergeError):
        identities.merge(survivor, survivor)
    identities.merge(survivor, other)

    with pytest.raises(identities.MergeError, match="already merged"):
        identities.merge(survivor, other)
    with pytest.raises(identities.MergeError, match="not merged"):
        identities.split(survivor)
    assert AuditEntry.objects.filter(action="customer.merged").count() == 1


def test_a_long_reference_of_another_source_still_fits_and_stays_unique():
    first = identities.reference_for("crm", "x" * 128)
    second = identities.reference_for("crm", "x" * 127 + "y")

    assert len(first) == len(second) == 128
    assert first != second
