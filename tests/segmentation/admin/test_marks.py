"""Labels by staff: on a customer's page, for ticked customers, who may, and what a training then sees."""

from __future__ import annotations

import pytest

from segmentation import marks, targets
from segmentation.models import AttributeDefinition, AttributeValue, AuditEntry, DueCustomer
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page


def html(answer):
    return answer.content.decode()


@pytest.fixture
def quality():
    """A category whose labels staff give, and nobody has given any."""
    AttributeDefinition.objects.create(
        slug="quality", label="Quality", kind="choice", choices=["gold", "plain"], is_label=True
    )
    return targets.make("quality_class", kind="category", horizon_days=90, attribute="quality")


def label_of(customer):
    rows = AttributeValue.objects.filter(customer=customer, definition__slug="quality")
    newest = rows.order_by("valid_from", "id").last()
    return newest.text if newest else None


def test_a_customer_is_marked_and_the_page_says_who_and_when(client, quality):
    buyer = world.customer("K-7")
    person = world.person("Service agent")
    client.force_login(person)
    assert "Nobody has marked this customer." in html(client.get(page("customer_change", buyer.pk)))
    form = html(client.get(page("customer_mark", buyer.pk)))
    assert "gold" in form
    answer = client.post(page("customer_mark", buyer.pk), {"choice": "quality_class:gold"}, follow=True)
    assert label_of(buyer) == "gold"
    text = html(answer)
    assert "1 customer marked anew." in text
    assert person.get_username() in text
    entry = AuditEntry.objects.get(action="label.marked")
    assert (entry.actor, entry.object_id, entry.detail["label"]) == (person, str(buyer.pk), "gold")
    assert DueCustomer.objects.filter(customer=buyer).exists()


def test_a_label_is_replaced_and_taken_away_and_the_history_stays(admin_client, quality):
    buyer = world.customer("K-7")
    for label in ("gold", "plain", "plain", ""):
        admin_client.post(page("customer_mark", buyer.pk), {"choice": f"quality_class:{label}"})
    assert label_of(buyer) is None
    assert [mark.label for mark in marks.history(buyer)] == ["", "plain", "gold"]
    assert "no label" in html(admin_client.get(page("customer_mark", buyer.pk)))


def test_ticked_customers_are_marked_together(admin_client, quality):
    people = [world.customer(f"K-{number}") for number in range(3)]
    ticked = {"action": "mark_selected", "_selected_action": [one.pk for one in people[:2]]}
    asked = html(admin_client.post(page("customer_changelist"), ticked))
    assert "Give 2 customers a label" in asked
    given = {"customers": [one.pk for one in people[:2]], "choice": "quality_class:plain"}
    answer = admin_client.post(page("customer_mark_many"), given, follow=True)
    assert "2 customers marked anew." in html(answer)
    assert [label_of(one) for one in people] == ["plain", "plain", None]


def test_who_may_not_be_profiled_is_left_out(admin_client, quality):
    open_one, closed = world.customer("K-1"), world.customer("K-2")
    type(closed).objects.filter(pk=closed.pk).update(is_profiled=False)
    given = {"customers": [open_one.pk, closed.pk], "choice": "quality_class:plain"}
    admin_client.post(page("customer_mark_many"), given)
    assert (label_of(open_one), label_of(closed)) == ("plain", None)
    answer = admin_client.post(page("customer_mark", closed.pk), {"choice": "quality_class:gold"})
    assert "may be profiled" in html(answer)
    assert label_of(closed) is None


@pytest.mark.parametrize("choice", ["quality_class:silver", "churn:1", "quality_class", "", "x:gold"])
def test_an_unknown_label_changes_nothing(admin_client, quality, choice):
    buyer = world.customer("K-7")
    answer = admin_client.post(page("customer_mark", buyer.pk), {"choice": choice})
    assert answer.status_code == 200
    assert not AttributeValue.objects.exists()
    assert not AuditEntry.objects.filter(action="label.marked").exists()


@pytest.mark.parametrize("role", ["Auditor", "Data protection"])
def test_only_some_roles_may(client, quality, role):
    buyer = world.customer("K-7")
    client.force_login(world.person(role))
    given = {"customers": [buyer.pk], "choice": "quality_class:gold"}
    assert client.post(page("customer_mark", buyer.pk), given).status_code == 403
    assert client.post(page("customer_mark_many"), given).status_code == 403
    ticked = {"action": "mark_selected", "_selected_action": [buyer.pk]}
    client.post(page("customer_changelist"), ticked)
    assert label_of(buyer) is None


def test_too_many_at_once_is_refused(quality, monkeypatch):
    monkeypatch.setattr(marks, "MOST_AT_ONCE", 1)
    with pytest.raises(marks.MarkError, match="too many at once"):
        marks.put([world.customer("a"), world.customer("b")], quality, "gold", by=None)


def test_as_many_as_may_be_ticked_fit_into_a_form(admin_client, quality):
    keys = list(range(10**6, 10**6 + marks.MOST_AT_ONCE))
    given = {"customers": keys, "choice": "quality_class:gold", "csrfmiddlewaretoken": "x"}
    answer = admin_client.post(page("customer_mark_many"), given)
    assert answer.status_code == 200
    assert "Nobody here may be profiled" in answer.content.decode()


def test_a_risk_without_another_label_can_be_denied():
    AttributeDefinition.objects.create(slug="seen", label="Seen", kind="text", is_label=True)
    risk = targets.make(
        "fraud", kind="risk", horizon_days=90, attribute="seen", options={"positive": "fraud"}
    )
    assert marks.labels(risk) == ("fraud", "no")


def test_a_target_of_behaviour_takes_no_labels(quality):
    targets.install()
    churn = next(target for target in targets.active() if target.slug == "churn")
    assert churn not in marks.markable()
    with pytest.raises(marks.MarkError, match="does not learn from labels"):
        marks.put([world.customer("a")], churn, "1", by=None)
