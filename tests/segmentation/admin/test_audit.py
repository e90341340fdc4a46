"""What was changed is written down before and after, without words about people, and stays as it was written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection, transaction
from django.db.models.deletion import ProtectedError
from django.urls import reverse

from crm_integration import connections
from crm_integration.connections import Door
from segmentation import audit_guard, audit_values
from segmentation.dashboard import audit_words
from segmentation.models import AuditEntry, CampaignRule, Customer, FrequencyCap, Suppression
from tests.crm_integration import fixtures
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page

ROOT = Path(__file__).resolve().parents[3]
LIST = page("auditentry_changelist")


def last(action):
    return AuditEntry.objects.filter(action=action).order_by("-pk")[0]


def test_a_cap_that_is_raised_leaves_both_values(admin_client, admin_user):
    cap = FrequencyCap.objects.create(name="All", most=2, days=7)
    admin_client.post(
        page("frequencycap_change", cap.pk),
        {"name": "All", "channel": "", "most": "5", "days": "7", "is_active": "on"},
    )
    entry = last("changed")
    assert (entry.actor, entry.object_id) == (admin_user, str(cap.pk))
    assert entry.detail == {"fields": ["most"], "before": {"most": 2}, "after": {"most": 5}}


def test_saving_without_a_change_writes_nothing(admin_client):
    cap = FrequencyCap.objects.create(name="All", most=2, days=7)
    same = {"name": "All", "channel": "", "most": "2", "days": "7", "is_active": "on"}
    assert admin_client.post(page("frequencycap_change", cap.pk), same).status_code == 302
    assert not AuditEntry.objects.exists()


def test_what_is_new_and_what_is_deleted_is_told(admin_client):
    admin_client.post(
        page("frequencycap_add"), {"name": "Mail", "channel": "", "most": "3", "days": "9", "is_active": "on"}
    )
    made = last("created")
    assert made.detail["after"] == {"name": "Mail", "most": 3, "days": 9}
    admin_client.post(page("frequencycap_delete", made.object_id), {"post": "yes"})
    gone = last("deleted")
    assert gone.detail["before"] == {"name": "Mail", "most": 3, "days": 9}
    assert "after" not in gone.detail


def test_rows_inside_a_page_are_told_one_by_one(admin_client):
    whom, gives = world.segment(), world.offer()
    made = world.campaign(whom, gives)
    rule = CampaignRule.objects.get(campaign=made)
    given = {
        "name": made.name, "slug": made.slug, "priority": made.priority, "trigger": made.trigger, "re_entry": made.re_entry,
        "on_lost": made.on_lost, "choice": made.choice, "stacks": made.stacks, "channel": made.channel, "seen": 0,
        "holdout_percent": "0", "description": "", "trigger_days": made.trigger_days,
        "rules-TOTAL_FORMS": 1, "rules-INITIAL_FORMS": 1, "rules-MIN_NUM_FORMS": 0, "rules-MAX_NUM_FORMS": 1000,
        "rules-0-id": rule.pk, "rules-0-campaign": made.pk, "rules-0-position": 7, "rules-0-segment": whom.pk,
        "rules-0-offer": gives.pk, "rules-0-name": "", "rules-0-condition": "", "rules-0-margin": "1",
    }  # fmt: skip
    answer = admin_client.post(page("campaign_change", made.pk), given)
    assert answer.status_code == 302, re.findall(r"errorlist.{0,200}", answer.content.decode())
    entry = AuditEntry.objects.get(object_type="segmentation.campaignrule")
    assert (entry.detail["before"]["position"], entry.detail["after"]["position"]) == (1, 7)
    assert entry.detail["of"] == f"segmentation.campaign {made.pk}"


def test_people_and_their_roles_without_their_names(admin_client):
    role = Group.objects.create(name="Some role")
    user = User.objects.create_user("eva", "eva@example.com", first_name="Eva")
    admin_client.post(
        reverse("admin:auth_user_change", args=[user.pk]),
        {
            "username": "eva",
            "email": "other@example.com",
            "first_name": "Evelyn",
            "groups": [role.pk],
            "is_active": "on",
            "is_staff": "on",
            "date_joined_0": user.date_joined.date().isoformat(),
            "date_joined_1": user.date_joined.strftime("%H:%M:%S"),
        },  # fmt: skip
    )
    entry = last("changed")
    assert {"email", "first_name", "is_staff", "groups"} <= set(entry.detail["fields"])
    assert entry.detail["before"] | {"is_staff": False, "groups": []} == entry.detail["before"]
    assert entry.detail["after"] | {"is_staff": True, "groups": [role.pk]} == entry.detail["after"]
    assert "example.com" not in str(entry.detail)


def test_secrets_and_free_words_about_people_are_told_by_name_alone(admin_user):
    row = fixtures.connection()
    connections.set_secret(row, Door.INBOUND, actor=admin_user)
    before = audit_values.stored(row)
    row.inbound_secret, row.outbound_url, row.is_active = "another", "https://u:p@crm.example", False
    row.save()
    told = audit_values.difference(type(row), before, audit_values.stored(row))
    assert {"inbound_secret", "outbound_url", "is_active"} <= set(told["fields"])
    assert told["after"] == {"is_active": False}
    whom = Suppression.objects.create(customer=world.customer(), reason="asked by eva@example.com")
    assert "eva@" not in str(audit_values.difference(Suppression, {}, audit_values.stored(whom)))


def refused(sql):
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE {t} SET action = 'x'", "UPDATE {t} SET detail = '{{}}'", "UPDATE {t} SET actor_id = NULL",
        "UPDATE {t} SET at = '2020-01-01'", "DELETE FROM {t}",
    ],
)  # fmt: skip
def test_the_database_itself_refuses_to_change_an_entry(admin_user, sql):
    entry = AuditEntry.record("x.done", admin_user, actor=admin_user, count=1)
    before = AuditEntry.objects.values().get(pk=entry.pk)
    refused(sql.format(t=audit_guard.TABLE))
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEntry.objects.filter(pk=entry.pk).update(action="y")
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEntry.objects.filter(pk=entry.pk).delete()
    assert AuditEntry.objects.values().get(pk=entry.pk) == before


def test_an_entry_is_not_written_over(admin_user):
    entry = AuditEntry.record("x.done", admin_user, actor=admin_user)
    over = "INSERT OR REPLACE INTO" if connection.vendor == "sqlite" else "INSERT INTO"
    columns = "id, action, object_type, object_id, detail, at"
    clash = "" if connection.vendor == "sqlite" else " ON CONFLICT (id) DO UPDATE SET action = 'y'"
    refused(
        f"{over} {audit_guard.TABLE} ({columns}) VALUES ({entry.pk}, 'y', '', '', '{{}}', '2020-01-01'){clash}"  # noqa: S608
    )


def test_postgresql_refuses_to_empty_the_table(admin_user):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    AuditEntry.record("x.done", admin_user)
    # Otherwise PostgreSQL refuses for another reason: references of the new row that are not checked yet.
    refused(f"SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE {audit_guard.TABLE}")


def test_an_opening_lets_words_of_its_object_go_and_nothing_else():
    one, two = world.customers(2)
    mine, other = (AuditEntry.record("x.done", who, word="Eva") for who in (one, two))
    kind = Customer._meta.label_lower
    with audit_guard.opened(kind, [str(one.pk)]):
        AuditEntry.objects.filter(pk=mine.pk).update(detail={})
        for entry, change in ((mine, {"action": "y"}), (other, {"detail": {}})):
            with pytest.raises(DatabaseError), transaction.atomic():
                AuditEntry.objects.filter(pk=entry.pk).update(**change)
        with pytest.raises(DatabaseError), transaction.atomic():
            AuditEntry.objects.filter(pk=mine.pk).delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEntry.objects.filter(pk=mine.pk).update(detail={"word": "Eva"})
    assert list(AuditEntry.objects.order_by("pk").values_list("detail", flat=True)) == [{}, {"word": "Eva"}]


def test_the_guard_stands_after_migrating_and_comes_back_when_it_fell(db):
    with connection.cursor() as cursor:
        assert audit_guard.stands(connection, cursor)
        cursor.execute(audit_guard.taking_down(connection.vendor)[0])
        assert not audit_guard.stands(connection, cursor)
        audit_guard.put_up(using="default")
        assert audit_guard.stands(connection, cursor)


def test_whoever_did_something_is_switched_off_not_deleted(admin_client, admin_user):
    user = User.objects.create_user("eva", is_staff=True)
    AuditEntry.record("x.done", user, actor=user)
    assert (
        admin_client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"}).status_code
        == 403
    )
    with pytest.raises(ProtectedError):
        user.delete()


def shown(client, **asked):
    return client.get(LIST, asked).context["cl"].result_list


def test_the_page_finds_by_id_person_action_and_day(admin_client, admin_user):
    eva = User.objects.create_user("eva")
    cap = FrequencyCap.objects.create(name="All", most=2, days=7)
    first = AuditEntry.record(
        "changed", cap, actor=eva, fields=["most"], before={"most": 2}, after={"most": 5}
    )
    second = AuditEntry.record("contact_read", world.customer(), actor=admin_user)
    assert list(shown(admin_client)) == [second, first]
    assert list(shown(admin_client, q="Eva")) == [first]
    assert list(shown(admin_client, q="contact_read")) == [second]
    assert list(shown(admin_client, q="segmentation.frequencycap")) == [first]
    assert list(shown(admin_client, did="contact_read")) == [second]
    assert list(shown(admin_client, actor__id__exact=eva.pk)) == [first]
    assert list(shown(admin_client, since="7")) == [second, first]
    text = admin_client.get(LIST).content.decode()
    assert "at most: 2 → 5" in text
    assert "Frequency cap All" in text
    assert f'href="{page("frequencycap_change", cap.pk)}"' in text
    assert "Contact data read" in text


@pytest.mark.parametrize("name", ["2026-13-01T10:00", "2026-01-01T10:00", "2026-01-01T10:00+99:00", "T"])
def test_a_name_that_looks_like_a_time_is_shown_as_it_is(admin_client, name):
    cap = FrequencyCap.objects.create(name="All", most=2, days=7)
    AuditEntry.record("changed", cap, fields=["name"], before={"name": "All"}, after={"name": name})
    assert name in admin_client.get(LIST).content.decode()


def test_the_page_asks_as_many_questions_for_many_entries_as_for_few(admin_client, django_assert_num_queries):
    from django.test.utils import CaptureQueriesContext

    AuditEntry.record("contact_read", world.customer())
    with CaptureQueriesContext(connection) as few:
        admin_client.get(LIST)
    for who in world.customers(60):
        AuditEntry.record("contact_read", who)
    with django_assert_num_queries(len(few)):
        answer = admin_client.get(LIST)
    assert len(answer.context["cl"].result_list) == 50
    assert all("COUNT(*)" not in one["sql"] or "LIMIT" in one["sql"] for one in few.captured_queries)


def test_every_action_that_is_written_has_words():
    """Grown by reading the source: what records an action names it as a plain string (or passes one on)."""
    found = set()
    for folder in ("segmentation", "crm_integration", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r'AuditEntry\.record\(\s*"([a-z_.]+)"', path.read_text()))
    assert len(found) > 40
    missing = sorted(found - audit_words.ACTIONS.keys())
    assert not missing, f"give these words in segmentation/dashboard/audit_words.py: {missing}"
