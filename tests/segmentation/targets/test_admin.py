"""Staff add a target with a look at its classes first, and edit it until something has learned it."""

from __future__ import annotations

import pytest
from django.urls import reverse

from segmentation import targets
from segmentation.models import AttributeDefinition, Customer, Target
from tests.segmentation.admin import world


def page(name, *args):
    return reverse(f"admin:segmentation_target_{name}", args=args)


def given(**more):
    usual = {
        "kind": "churn",
        "horizon_days": 90,
        "min_orders": 1,
        "promotes": "clear_gain",
        "is_active": "on",
    }
    return {"name": "Mine", "slug": "mine", **usual, **more}


def test_a_target_is_added_with_what_its_kind_asks(admin_client):
    assert "tier_by" in admin_client.get(page("add")).content.decode()
    answer = admin_client.post(
        page("add"), given(kind="value_tier", tier_by="money", borders="100, 500", days="7")
    )
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    made = Target.objects.get(slug="mine")
    assert made.settings == {"tiers": {"by": "money", "count": 3, "borders": [100.0, 500.0]}}
    assert "100, 500" in admin_client.get(page("change", made.pk)).content.decode()
    admin_client.post(page("change", made.pk), given(kind="next_order", days="3, 10"))
    made.refresh_from_db()
    assert (made.kind, made.settings, made.horizon_days) == ("next_order", {"days": [3, 10]}, 10)


def test_the_suggested_short_name_becomes_one_that_rules_can_name(admin_client):
    admin_client.post(page("add"), given(slug="five-tiers"))
    assert Target.objects.filter(slug="five_tiers").exists()


def test_what_cannot_be_is_said_on_the_form(admin_client):
    answer = admin_client.post(page("add"), given(kind="value_tier", tier_by="money", borders="9, 1"))
    assert answer.status_code == 200
    assert "must be above zero and rise" in answer.content.decode()
    assert not Target.objects.filter(slug="mine").exists()


def test_a_label_column_given_in_the_form_is_no_feature_any_more(admin_client):
    column = AttributeDefinition.objects.create(slug="m", label="Marked", kind="boolean", is_feature=True)
    admin_client.post(page("add"), given(kind="risk", attribute=column.pk))
    column.refresh_from_db()
    assert (column.is_label, column.is_feature) == (True, False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, ["stops buying", "stays"]),
        ({"kind": "value_tier", "tier_count": 4}, ["Low value", "Top value", "up to"]),
        ({"kind": "next_order", "days": "7, 30"}, ["Within 7 days", "Later"]),
        ({"kind": "clusters"}, ["with an order in the last 365 days"]),
    ],
)
def test_the_preview_counts_what_the_form_says_and_saves_nothing(admin_client, small_shop, more, said):
    text = admin_client.post(page("preview"), given(**more)).content.decode()
    assert "this many customers would be in each class" in text
    for words in said:
        assert words in text
    assert not Target.objects.filter(slug="mine").exists()


def test_the_preview_counts_labels_and_warns_of_rare_ones(admin_client):
    column = AttributeDefinition.objects.create(slug="m", label="Kind", kind="text")
    people = Customer.objects.bulk_create(Customer(reference=f"C{n}") for n in range(30))
    for number, person in enumerate(people):
        column.values.create(customer=person, text="rare" if number < 4 else "common", valid_from=world.AT)
    asked = given(kind="category", attribute=column.pk)
    text = admin_client.post(page("preview"), asked).content.decode()
    assert "too few to learn" in text
    assert "26" in text
    wrong = admin_client.post(page("preview"), given(kind="next_order", days="x")).content.decode()
    assert "Write numbers" in wrong


def test_without_history_the_preview_says_what_is_missing(admin_client):
    assert "too little history" in admin_client.post(page("preview"), given()).content.decode()


def test_what_has_learned_keeps_its_meaning(admin_client):
    targets.install()
    world.version(1)
    churn = Target.objects.get(slug="churn")
    admin_client.post(page("change", churn.pk), given(kind="value_tier", tier_count=9, name="Leaves"))
    churn.refresh_from_db()
    assert (churn.name, churn.kind, churn.settings) == ("Leaves", "churn", {})
    assert admin_client.get(page("change", churn.pk)).status_code == 200


def test_the_list_says_what_each_score_means_in_few_queries(admin_client, django_assert_max_num_queries):
    targets.install()
    with django_assert_max_num_queries(12):
        text = admin_client.get(page("changelist")).content.decode()
    assert "places no order in the next 90 days" in text
