"""What a person is handed: everything, readable, and only by who may."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from segmentation import privacy, roles
from segmentation.models import (
    Alert,
    AuditEntry,
    Customer,
    ModelVersion,
    PrivacyRequest,
    Shop,
    Target,
    Tombstone,
    TrainingRun,
)
from segmentation.privacy import requests, versions
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page
from tests.segmentation.privacy import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def eva(monkeypatch):
    """Her decision has no policy behind it; what explains decisions is tested with them."""
    from segmentation.models import Decision

    made = person.live()
    Decision.objects.all().delete()
    return made


def answered(row):
    privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.error) == ("done", "")
    return json.loads(privacy.answer(row))


def test_an_export_holds_everything_that_is_held(connection, eva):
    person.received(connection, person.order_body(), "m-1")
    person.sent(connection, eva)
    document = answered(privacy.request_for(eva, privacy.Kind.EXPORT, source="test"))
    (one,) = document["people"]
    empty = {name for name, value in one.items() if not value}
    assert empty == {"features", "decisions"}
    assert one["contact"][0] == {
        "email": person.EMAIL, "first_name": person.FIRST, "last_name": person.LAST, "phone": person.PHONE,
        "language": "", "birthday": None,
    }  # fmt: skip
    assert {row["id"] for row in one["known_as"]} >= {person.REFERENCE, person.CRM_ID}
    assert person.SENTENCE in [event["text"] for event in one["events"]]
    order = next(event for event in one["events"] if event["id_at_source"] == f"{person.REFERENCE}|order-1")
    assert order["items"] == [{"product": "Candle", "product_id": "P1", "units": 2, "amount": "19.90"}]
    assert one["your_columns"][0]["value"] == "keyring for evi"
    assert one["messages"]["received"][0]["body"]["data"]["customer"] == person.REFERENCE
    assert one["messages"]["sent"][0]["body"]["customer"]["reference"] == person.REFERENCE
    assert one["scores"][0]["model_version"] == 1


def test_decisions_are_told_in_words():
    from tests.segmentation.decisions import shop as deciding

    frequent = deciding.segment("frequent", deciding.FREQUENT)
    deciding.campaign("rewards", (frequent, deciding.offer("gift")))
    deciding.run({"orders": 5.0, "churn": 0.2})
    (decision,) = privacy.export(Customer.objects.get(pk=1))["decisions"]
    assert decision["in_words"][0] == "Gets “Gift” from the campaign “Rewards”."
    assert decision["considered"][0]["reasons"]


def test_the_answer_is_sealed_and_what_named_the_person_is_gone(eva):
    row = privacy.request(privacy.Kind.EXPORT, "crm", person.CRM_ID, source="crm")
    answered(row)
    assert (row.subject, row.customers[0]) == ("", eva.pk)
    assert person.EMAIL.encode() not in bytes(row.result)


def test_nobody_known_is_an_answer_too():
    row = privacy.request(privacy.Kind.EXPORT, "crm", "nobody-7", "no@example.com", source="crm")
    assert answered(row)["held"] is False
    assert not Tombstone.objects.exists()


def test_what_was_handed_out_goes_with_the_erasure_and_after_its_time(eva):
    first = privacy.request_for(eva, privacy.Kind.EXPORT, source="test")
    answered(first)
    other = privacy.request_for(Customer.objects.create(reference="K-1"), privacy.Kind.EXPORT, source="test")
    answered(other)
    privacy.erase(eva)
    first.refresh_from_db()
    other.refresh_from_db()
    assert (privacy.answer(first), privacy.answer(other) is None) == (None, False)
    long_ago = timezone.now() - timedelta(days=requests.RESULT_DAYS + 1)
    PrivacyRequest.objects.filter(pk=other.pk).update(finished_at=long_ago)
    privacy.review()
    other.refresh_from_db()
    assert privacy.answer(other) is None


# --- doors
def test_the_command_exports_and_erases(eva, tmp_path):
    out = StringIO()
    file = tmp_path / "eva.json"
    call_command("privacy", "export", person.REFERENCE, output=file, stdout=out)
    assert json.loads(file.read_text())["people"][0]["customer"][0]["reference"] == person.REFERENCE
    assert file.stat().st_mode & 0o777 == 0o600
    call_command("privacy", "erase", person.CRM_ID, namespace="crm", yes=True, stdout=out)
    assert "erased (" in out.getvalue()
    assert not Customer.objects.exists()
    call_command("privacy", "lift", person.CRM_ID, namespace="crm", stdout=out)
    assert "1 marks lifted" in out.getvalue()


def test_the_command_erases_nobody_without_a_yes(eva):
    with pytest.raises(CommandError, match="--yes"):
        call_command("privacy", "erase", person.REFERENCE)
    assert Customer.objects.filter(pk=eva.pk).exists()
    assert not PrivacyRequest.objects.exists()


def test_after_a_restored_backup_people_are_erased_by_the_ids_in_the_log(eva):
    call_command("privacy", "erase", customer_id=eva.pk, yes=True, stdout=StringIO())
    assert not Customer.objects.exists()
    with pytest.raises(CommandError, match="no customer"):
        call_command("privacy", "erase", customer_id=eva.pk, yes=True)


@pytest.mark.parametrize("role", [role.name for role in roles.ROLES])
def test_only_data_protection_and_administrators_may_erase_or_export(client, eva, role):
    may = role in {"Data protection", "Administrator"}
    client.force_login(world.person(role))
    confirm = {"reference": person.REFERENCE, "reason": "asked"}
    shown = client.get(page("customer_change", eva.pk)).content.decode()
    assert ("Export what is held" in shown) is may
    assert client.get(page("customer_erase", eva.pk)).status_code == (200 if may else 403)
    assert client.post(page("customer_export", eva.pk)).status_code == (302 if may else 403)
    assert client.post(page("customer_erase", eva.pk), confirm).status_code == (302 if may else 403)
    assert PrivacyRequest.objects.count() == (2 if may else 0)
    assert client.get(page("privacyrequest_changelist")).status_code == (
        200 if may or role == "Auditor" else 403
    )


def test_an_auditor_sees_requests_but_not_the_answers(client, eva):
    row = privacy.request_for(eva, privacy.Kind.EXPORT, source="test")
    answered(row)
    client.force_login(world.person("Auditor"))
    assert client.get(page("privacyrequest_change", row.pk)).status_code == 200
    assert client.post(page("privacyrequest_answer", row.pk)).status_code == 403
    assert not AuditEntry.objects.filter(action="privacy.downloaded").exists()


def test_the_page_shows_what_goes_and_asks_for_the_number(client, eva):
    client.force_login(world.person("Data protection"))
    text = client.get(page("customer_erase", eva.pk)).content.decode()
    assert "guest:" in text
    assert "Events" in text
    answer = client.post(page("customer_erase", eva.pk), {"reference": "KD-7", "reason": "x"})
    assert "not the number of this customer" in answer.content.decode()
    assert not PrivacyRequest.objects.exists()
    answer = client.post(page("customer_erase", eva.pk), {"reference": person.REFERENCE, "reason": "asked"})
    row = PrivacyRequest.objects.get()
    assert answer["Location"] == page("privacyrequest_change", row.pk)
    assert (row.source, row.kind, row.reason) == ("admin", "erase", "asked")
    privacy.work(row.pk)
    text = client.get(page("privacyrequest_change", row.pk)).content.decode()
    assert "something was held" in text
    assert client.get(page("privacyrequest_progress", row.pk)).json()["over"] is True


def test_the_answer_is_downloaded_by_post_and_written_down(client, eva):
    officer = world.person("Data protection")
    client.force_login(officer)
    client.post(page("customer_export", eva.pk))
    row = PrivacyRequest.objects.get()
    assert client.post(page("privacyrequest_answer", row.pk)).status_code == 404
    answered(row)
    assert client.get(page("privacyrequest_answer", row.pk)).status_code == 405
    answer = client.post(page("privacyrequest_answer", row.pk))
    assert json.loads(answer.content)["held"] is True
    assert "no-store" in answer["Cache-Control"]
    assert answer["Content-Disposition"].startswith("attachment")
    assert AuditEntry.objects.get(action="privacy.downloaded").actor == officer


def test_a_failed_request_raises_an_alert_and_can_be_worked_again(client, eva, monkeypatch):
    row = privacy.request_for(eva, privacy.Kind.ERASE, source="test")
    with monkeypatch.context() as patch:
        patch.setattr(requests, "MAX_ATTEMPTS", 1)
        patch.setattr(requests.erasing, "erase", lambda *_args, **_options: 1 / 0)
        privacy.work(row.pk)
    row.refresh_from_db()
    assert (row.state, Alert.objects.get().key) == ("failed", f"privacy.failed.{row.pk}")
    client.force_login(world.person("Analyst"))
    assert client.post(page("privacyrequest_again", row.pk)).status_code == 403
    client.force_login(world.person("Data protection"))
    assert client.post(page("privacyrequest_again", row.pk)).status_code == 302
    privacy.work(row.pk)
    assert not Customer.objects.exists()
    assert Alert.objects.get().resolved_at is not None


def test_a_request_past_its_date_raises_an_alert_until_it_is_answered(eva):
    row = privacy.request_for(eva, privacy.Kind.EXPORT, source="test")
    privacy.review()
    assert not Alert.objects.exists()
    PrivacyRequest.objects.filter(pk=row.pk).update(due_at=timezone.now() - timedelta(hours=1))
    privacy.review()
    assert Alert.objects.get(resolved_at=None).key == "privacy.overdue"
    answered(row)
    privacy.review()
    assert not Alert.objects.filter(resolved_at=None).exists()


# --- models that have seen the person
def trained(number, *, cutoffs, made=None, **fields):
    made = made or timezone.now()
    version = ModelVersion.objects.create(
        number=number, algorithm="blend", catalogue_version="x", artifact_sha256="0" * 64, created_at=made,
        data_snapshot={"cutoffs": dict.fromkeys(cutoffs, 10)}, **fields,
    )  # fmt: skip
    version.targets.add(Target.objects.get(slug="churn"))
    return version


def test_versions_that_could_have_learned_from_the_person_are_listed():
    person.tell([person.profile()], [person.bought()])
    eva = Customer.objects.get()
    seen = trained(11, cutoffs=["2024-01-01", "2024-06-01"])
    trained(12, cutoffs=["2024-01-01"])
    trained(13, cutoffs=["2024-06-01"], made=person.AT - timedelta(days=30))
    trained(14, cutoffs=["2024-06-01"], artifact_deleted_at=timezone.now())
    assert versions.seen_by([eva.pk]).versions == [seen.pk]


def test_who_had_refused_profiling_was_not_learned_from():
    from segmentation.normal import NormalConsent, NormalCustomer

    refusal = NormalConsent("profiling", "denied", person.AT)
    person.tell([NormalCustomer("K-1", consents=(refusal,))], [person.bought("K-1")])
    trained(11, cutoffs=["2024-06-01"])
    assert versions.seen_by([Customer.objects.get().pk]).versions == []


def test_a_version_that_serves_past_its_date_raises_an_alert_until_it_is_replaced():
    person.tell([person.profile()], [person.bought()])
    old, member = trained(11, cutoffs=["2024-06-01"]), trained(10, cutoffs=["2024-06-01"])
    old.members.add(member)
    world.champion(old)
    row = privacy.erase(Customer.objects.get())
    assert (row.versions, row.retrain_by) == (
        sorted([old.pk, member.pk]), Shop.get().today() + timedelta(days=30)
    )  # fmt: skip
    versions.review(row.retrain_by)
    assert not Alert.objects.exists()
    versions.review(row.retrain_by + timedelta(days=1))
    assert "v10, v11" in Alert.objects.get(resolved_at=None).message
    world.champion(trained(12, cutoffs=["2024-06-01"]))
    versions.review(row.retrain_by + timedelta(days=2))
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_training_that_was_under_way_counts_as_having_seen_the_person():
    person.tell([person.profile()], [person.bought()])
    run = TrainingRun.objects.create(state="running")
    row = privacy.erase(Customer.objects.get())
    assert row.runs == [run.pk]
    late = trained(15, cutoffs=["2024-06-01"], training_run=run)
    world.champion(late)
    assert versions.to_replace(row) == [late]
