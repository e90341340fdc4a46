"""The customers list and the page of one customer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission

from segmentation import contacts, crypto
from segmentation.dashboard import timeline
from segmentation.jobs import Job
from segmentation.kinds import EventKind
from segmentation.models import AuditEntry, ContactData, Customer, DueCustomer, EventText, Shop
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page
from tests.segmentation.decisions import shop as deciding


def html(answer):
    return answer.content.decode()


def listed(client, **query):
    return {row.reference for row in client.get(page("customer_changelist"), query).context["cl"].result_list}


@pytest.fixture
def eva():
    made = world.customer("K-100")
    contacts.write(made, contacts.Contact(email="eva@example.com", first_name="Eva", last_name="Muster"))
    return made


# --- the list
def test_results_are_shown_in_words(admin_client):
    world.customer("K-1", churn_probability=0.82, tier="high", priority=4)
    text = html(admin_client.get(page("customer_changelist")))
    assert "likely to stop buying (82 %)" in text
    assert "High value" in text
    assert "Urgent" in text
    assert "0.82" not in text


def test_a_customer_without_a_score_says_why(admin_client):
    world.customer("K-1", churn_probability=None, tier="", abstain_reason="no_orders")
    assert "no order yet" in html(admin_client.get(page("customer_changelist")))


def test_filters_narrow_the_list(admin_client):
    whom, gives = world.segment(), world.offer()
    world.customer("leaver", churn_probability=0.9, segments=[whom], priority=4)
    world.customer("stayer", churn_probability=0.1, tier="low", current_offer=gives, country="Spain")
    assert listed(admin_client, risk="leaves") == {"leaver"}
    assert listed(admin_client, risk=["leaves", "stays"]) == {"leaver", "stayer"}
    assert listed(admin_client, tier="low") == {"stayer"}
    assert listed(admin_client, segment=whom.pk) == {"leaver"}
    assert listed(admin_client, offer=gives.pk) == {"stayer"}
    assert listed(admin_client, offer="none") == {"leaver"}
    assert listed(admin_client, priority=4) == {"leaver"}
    assert listed(admin_client, country="Spain") == {"stayer"}


def test_a_made_up_filter_value_changes_nothing(admin_client):
    world.customer("K-1")
    assert listed(admin_client, segment="1 OR 1=1", tier="gold") == {"K-1"}


def test_a_customer_is_found_by_number_by_other_ids_and_by_whole_e_mail(admin_client, eva):
    eva.identities.create(namespace="crm", value="X-77")
    world.customer("K-200")
    assert listed(admin_client, q="K-1") == {"K-100"}
    assert listed(admin_client, q="X-77") == {"K-100"}
    assert listed(admin_client, q=" Eva@Example.com ") == {"K-100"}
    assert listed(admin_client, q="eva@") == set()


def test_who_looks_for_an_e_mail_may_see_contact_data_and_is_written_down(client, eva):
    agent = world.person("Service agent")
    client.force_login(agent)
    assert "A search by e-mail is written to the audit log" in html(client.get(page("customer_changelist")))
    assert listed(client, q="eva@example.com") == {"K-100"}
    assert listed(client, q="nobody@example.com") == set()
    looks = AuditEntry.objects.filter(action="email_searched").order_by("id")
    assert [(look.actor, look.object_id, look.detail) for look in looks] == [
        (agent, str(eva.pk), {"found": True}),
        (agent, "", {"found": False}),
    ]


def test_without_the_right_to_contact_data_an_e_mail_finds_nothing_and_says_so(client, eva):
    client.force_login(world.person("Analyst"))
    assert "for those who may see contact data" in html(client.get(page("customer_changelist")))
    assert listed(client, q="eva@example.com") == set()
    answer = client.get(page("customer_changelist"), {"q": "eva@example.com"})
    assert "it cannot search by e-mail" in html(answer)
    assert not AuditEntry.objects.filter(action="email_searched").exists()


def test_ids_of_other_systems_are_searched_by_who_may_see_them(client, eva):
    eva.identities.create(namespace="crm", value="X-77")
    client.force_login(world.person("Campaign manager"))
    assert listed(client, q="X-77") == set()
    client.force_login(world.person("Analyst"))
    assert listed(client, q="X-77") == {"K-100"}


def test_merged_customers_are_not_listed_and_lead_to_the_survivor(admin_client, eva):
    old = world.customer("K-OLD", merged_into=eva)
    assert listed(admin_client) == {"K-100"}
    answer = admin_client.get(page("customer_change", old.pk))
    assert answer["Location"] == page("customer_change", eva.pk)


# --- one customer
def test_the_history_of_merged_customers_is_one(admin_client, eva):
    old = world.customer("K-OLD", merged_into=eva)
    world.order(old, amount_minor=4321)
    assert "43.21\u00a0GBP" in html(admin_client.get(page("customer_change", eva.pk)))


def test_the_history_pages_through_everything_exactly_once(eva):
    same = datetime(2024, 5, 1, 12, tzinfo=UTC)
    orders = [world.order(eva, at=same) for _ in range(timeline.PAGE + 9)]
    whom = world.segment()
    over = [
        whom.past_memberships.create(customer=eva, entered_at=same, entered_by=1, left_at=same, left_by=2)
        for _ in range(5)
    ]
    lasting = [world.segment(f"Group {number}") for number in range(3)]
    for one in lasting:
        one.memberships.create(customer=eva, entered_at=same, entered_by=1)
    seen, before = [], ""
    while True:
        found = timeline.read([eva.pk], {"before": before}, shop=Shop.get(), with_texts=False)
        seen += [(entry.cursor.rank, entry.cursor.pk) for entry in found.entries]
        before = found.older
        if not before:
            break
    expected = [(timeline.EVENT, one.pk) for one in orders]
    expected += [(rank, one.pk) for rank in (timeline.LEFT, timeline.ENTERED) for one in over]
    expected += [(timeline.JOINED, one.pk) for one in lasting]
    assert sorted(seen) == sorted(expected)


def test_identities_consents_and_events_are_shown_to_who_may_see_them(client, eva, django_user_model):
    eva.identities.create(namespace="crm", value="X-77")
    world.order(eva, amount_minor=4321)
    world.segment("French").memberships.create(customer=eva, entered_by=1)
    looker = django_user_model.objects.create_user("looker", is_staff=True)
    client.force_login(looker)
    parts = {"view_customeridentity": "X-77", "view_consent": "never answered", "view_event": "43.21"}

    def shown():
        """Which of the parts stand on the page; asked for by the address, too."""
        found = html(client.get(page("customer_change", eva.pk), {"show": "orders"}))
        return {codename for codename, text in parts.items() if text in found}

    looker.user_permissions.add(Permission.objects.get(codename="view_customer"))
    assert shown() == set()
    assert "Entered segment “French”" in html(client.get(page("customer_change", eva.pk)))
    for codename in parts:
        looker.user_permissions.set(Permission.objects.filter(codename__in=["view_customer", codename]))
        assert shown() == {codename}


def test_a_broken_cursor_shows_the_first_page(admin_client, eva):
    world.order(eva)
    for broken in ("x", "2024~1", "2024-05-01T00:00:00~1~1", "~~"):
        assert "Ordered" in html(admin_client.get(page("customer_change", eva.pk), {"before": broken}))


def test_the_history_can_be_narrowed(admin_client, eva):
    world.order(eva)
    world.order(eva, kind=EventKind.VIEWED, amount_minor=0)
    text = html(admin_client.get(page("customer_change", eva.pk), {"show": "browsing"}))
    assert "Looked at" in text
    assert "Ordered:" not in text


def test_contact_data_is_hidden_until_asked_for_and_every_look_is_written_down(client, eva):
    agent = world.person("Service agent")
    client.force_login(agent)
    address = page("customer_change", eva.pk)
    assert "eva@example.com" not in html(client.get(address))
    assert not AuditEntry.objects.filter(action="contact_read").exists()
    answer = client.post(page("customer_contact", eva.pk))
    assert "eva@example.com" in html(answer)
    assert "no-store" in answer["Cache-Control"]
    look = AuditEntry.objects.get(action="contact_read")
    assert (look.actor, look.object_id) == (agent, str(eva.pk))
    assert "eva@example.com" not in str(look.detail)


def test_contact_data_stays_closed_to_other_roles(client, eva):
    client.force_login(world.person("Campaign manager"))
    assert "Show contact data" not in html(client.get(page("customer_change", eva.pk)))
    assert client.post(page("customer_contact", eva.pk)).status_code == 403
    assert not AuditEntry.objects.filter(action="contact_read").exists()


def _review(of, text):
    event = world.order(of, kind=EventKind.REVIEWED, amount_minor=0)
    key = bytes(ContactData.objects.get(customer=of).data_key)
    EventText.objects.create(event=event, sealed=crypto.seal(key, text.encode()))


def test_a_customers_own_words_are_shown_to_who_may_read_them_and_that_is_written_down(client, eva):
    _review(eva, "Broke <b>twice</b>")
    client.force_login(world.person("Analyst"))
    assert "twice" not in html(client.get(page("customer_change", eva.pk)))
    assert not AuditEntry.objects.filter(action="texts_read").exists()
    client.force_login(world.person("Service agent"))
    assert "Broke &lt;b&gt;twice&lt;/b&gt;" in html(client.get(page("customer_change", eva.pk)))
    assert AuditEntry.objects.get(action="texts_read").detail == {"count": 1}


def test_an_erased_text_says_so(client, eva):
    _review(eva, "words")
    ContactData.objects.filter(customer=eva).update(data_key=crypto.new_data_key())
    client.force_login(world.person("Service agent"))
    assert "can no longer be opened" in html(client.get(page("customer_change", eva.pk)))


def test_rescore_now_queues_the_customer_once_and_the_page_waits(
    admin_client, eva, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin_client.post(page("customer_rescore", eva.pk))
    assert answer["Location"] == page("customer_change", eva.pk)
    assert DueCustomer.objects.filter(customer=eva).count() == 1
    assert [job for job, _ids in nudges] == [Job.RESCORE_DUE]
    assert "Waiting to be rescored" in html(admin_client.get(page("customer_change", eva.pk)))
    assert admin_client.get(page("customer_state", eva.pk)).json() == {"waiting": True}
    DueCustomer.objects.all().delete()
    assert admin_client.get(page("customer_state", eva.pk)).json() == {"waiting": False}


def test_the_last_decision_is_shown_with_the_reason_of_every_candidate(admin_client):
    frequent = deciding.segment("frequent", deciding.FREQUENT)
    deciding.campaign("rewards", (frequent, deciding.offer("gift")))
    deciding.campaign("rescue", (deciding.LEAVING, deciding.offer("voucher")))
    deciding.priority(1, deciding.LEAVING, 4)
    deciding.run({"orders": 5.0, "churn": 0.2})
    text = html(admin_client.get(page("customer_change", 1)))
    assert "Gets “Gift” from the campaign “Rewards”." in text
    assert "Rescue: Voucher" in text
    assert "Rule 1" in text


def test_the_last_day_that_counted_is_named_not_the_one_after(admin_client):
    world.shop_with_everything()
    found = Customer.objects.get(reference="K-100")
    text = html(admin_client.get(page("customer_change", found.pk)))
    assert "June 1, 2024" in text
    assert "June 2, 2024" not in text


def test_further_segments_stay_on_the_line_of_the_last_badge(admin_client):
    world.customer("K-7", segments=[world.segment(name) for name in ("A", "B", "C")])
    assert (
        '<span class="tw-nowrap"><span class="tw-badge tw-plain">B</span> <span class="tw-label" title="C">+1</span></span>'
        in html(admin_client.get(page("customer_changelist")))
    )
