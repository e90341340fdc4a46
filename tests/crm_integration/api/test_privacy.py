"""A tool asks for what is held about somebody, or erases them, and follows it to the end."""

from __future__ import annotations

from datetime import date

import pytest

from crm_integration.models import ApiToken
from segmentation import privacy
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Customer, PrivacyRequest, Tombstone
from tests.crm_integration.api import world
from tests.segmentation.admin import world as console

pytestmark = pytest.mark.django_db
ADDRESS = "/api/privacy-requests/"


def asked(api, **body):
    answer = api.post(ADDRESS, body)
    assert answer.status_code == 202, answer.content
    return answer.json()


def test_an_export_is_asked_for_followed_and_fetched(api, nudges, django_capture_on_commit_callbacks):
    console.order(console.customer("C-1"))
    with django_capture_on_commit_callbacks(execute=True):
        row = asked(api, kind="export", customer="C-1", reason="ticket 7")
    assert (row["state"], row["is_held"], row["problem"]) == ("queued", None, None)
    assert (Job.PRIVACY, {"request_id": row["id"]}) in nudges
    assert api.get(f"{ADDRESS}{row['id']}/document/").status_code == 409
    assert asked(api, kind="export", customer="C-1")["id"] == row["id"], "it is open already"
    privacy.work(row["id"])
    assert api.get(f"{ADDRESS}{row['id']}/").json()["is_held"] is True
    answer = api.get(f"{ADDRESS}{row['id']}/document/")
    assert answer.json()["held"] is True
    assert "C-1" in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"
    entry = AuditEntry.objects.get(action="privacy.downloaded")
    assert (entry.object_id, entry.detail["token"]) == (str(row["id"]), ApiToken.objects.get().prefix)


def test_an_erasure_leaves_a_tombstone_and_names_the_models_to_train_again(api):
    person = console.customer("C-1")
    row = asked(api, kind="erase", customer="C-1")
    privacy.work(row["id"])
    assert not Customer.objects.filter(pk=person.pk, reference="C-1").exists()
    assert Tombstone.objects.exists()
    version = console.version(3)
    PrivacyRequest.objects.update(versions=[version.pk], retrain_by=date(2026, 12, 31))
    found = api.get(f"{ADDRESS}{row['id']}/").json()
    assert (found["state"], found["model_versions"], found["retrain_by"]) == ("done", [3], "2026-12-31")
    assert AuditEntry.objects.filter(action="privacy.erase").exists()


def test_a_request_that_names_nobody_is_refused(api):
    assert api.post(ADDRESS, {"kind": "erase"}).status_code == 422
    assert api.post(ADDRESS, {"kind": "forget", "customer": "C-1"}).status_code == 400
    assert not PrivacyRequest.objects.exists()


def test_what_came_through_another_door_is_answered_there(api):
    console.customer("C-1")
    other = privacy.request("export", "shop", "C-1", source="webhook:shop")
    assert api.post(ADDRESS, {"kind": "export", "customer": "C-1"}).status_code == 409
    assert api.get(f"{ADDRESS}{other.pk}/").status_code == 404
    assert api.get(f"{ADDRESS}{other.pk}/document/").status_code == 404


def test_asking_again_under_one_key_asks_once(api):
    headers = {"Idempotency-Key": "k-1"}
    first = api.post(ADDRESS, {"kind": "erase", "email": "who@example.com"}, headers=headers).json()
    privacy.work(first["id"])
    again = api.post(ADDRESS, {"kind": "erase", "email": "who@example.com"}, headers=headers)
    assert (again.json(), again["Idempotency-Replayed"]) == (first, "true")
    assert PrivacyRequest.objects.count() == 1


def test_a_token_for_everything_else_cannot_ask(client):
    text = world.token(world.ALL - {"privacy:run"})
    answer = client.post(
        ADDRESS,
        {"kind": "erase", "customer": "C-1"},
        content_type="application/json",
        headers=world.bearer(text),
    )
    assert answer.status_code == 403
    assert not PrivacyRequest.objects.exists()
