"""A POST under an Idempotency-Key happens once, however often and from however many threads it comes."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from django.db import connection as database
from django.test import Client

from crm_integration.models import InboundMessage, StoredReply
from segmentation import targets, training_runs
from segmentation.imports import uploads
from segmentation.models import AuditEntry, ImportRun, ScoringRun, Shop, TrainingRun
from tests.crm_integration.api import world
from tests.crm_integration.fixtures import envelope, order

pytestmark = pytest.mark.django_db(transaction=True)
KEY = {"idempotency-key": "k-1"}


@pytest.fixture
def enough_data(monkeypatch):
    targets.install()
    monkeypatch.setattr(training_runs, "require_enough_data", lambda *args, **kwargs: None)


def test_the_answer_is_repeated_and_the_effect_is_not(api, enough_data):
    first = api.post("/api/trainings/", {"targets": ["churn"]}, headers=KEY)
    again = api.post("/api/trainings/", {"targets": ["churn"]}, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert TrainingRun.objects.count() == 1


def test_another_body_under_the_key_is_a_conflict(api):
    api.post("/api/events/", order("o-1"), headers=KEY)
    for path, body in (("/api/events/", order("o-2")), ("/api/classifications/", {})):
        answer = api.post(path, body, headers=KEY)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:tierwise:problem:conflict")
    assert InboundMessage.objects.count() == 1


def test_a_refusal_uses_no_key(api):
    assert api.post("/api/events/", order("o-1", amount="-1"), headers=KEY).status_code == 422
    assert not StoredReply.objects.exists()
    assert api.post("/api/events/", order("o-1"), headers=KEY).status_code == 202


def test_keys_belong_to_a_token(client):
    body = envelope("product.viewed", customer="c-1", product="p")
    for text in (world.token(), world.token()):
        assert world.Api(client, text).post("/api/events/", body, headers=KEY).status_code == 202
    assert StoredReply.objects.count() == 2


@pytest.mark.parametrize("key", ["x" * 101, "with space", "ü"])
def test_a_key_that_is_none_is_refused(api, key):
    answer = api.post("/api/events/", order(), headers={"idempotency-key": key})
    assert answer.status_code == 400
    assert not InboundMessage.objects.exists()


def test_a_classification_is_answered_once_too(api):
    Shop.get()
    first = api.post("/api/classifications/", {}, headers=KEY)
    again = api.post("/api/classifications/", {}, headers=KEY)
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    assert ScoringRun.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "body", "made"),
    [
        ("/api/trainings/", {"targets": ["churn"]}, TrainingRun),
        ("/api/events/", envelope("product.viewed", customer="c-1", product="p"), InboundMessage),
        ("/api/classifications/", {}, ScoringRun),
    ],
)
def test_two_at_once_are_one(enough_data, path, body, made):
    Shop.get()
    answers = both(lambda api: api.post(path, body, headers=KEY))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert made.objects.count() == 1
    assert StoredReply.objects.count() == 1


def both(ask):
    """The answers to what two threads ask at once with one token."""
    text, start, answers = world.token(), Barrier(2), []

    def work():
        try:
            api = world.Api(Client(), text)
            start.wait()
            answers.append(ask(api))
        finally:
            database.close()

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def kept_together(monkeypatch):
    """Both have found no answer yet and have written their file before either goes on."""
    there, keep = Barrier(2), uploads.keep

    def kept(*args):
        token = keep(*args)
        there.wait(timeout=10)
        return token

    monkeypatch.setattr(uploads, "keep", kept)


def test_two_uploads_at_once_are_one_import(kept_together, tmp_path):
    Shop.get()
    answers = both(lambda api: api.upload(preset="tierwise", headers=KEY))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert sorted("Idempotency-Replayed" in answer for answer in answers) == [False, True]
    assert ImportRun.objects.get().pk == answers[0].json()["id"]
    assert AuditEntry.objects.filter(action="api.import_started").count() == 1
    assert len(list((tmp_path / "uploads").glob("*"))) == 1


def test_two_files_at_once_under_one_key_are_one_import_and_a_conflict(kept_together, tmp_path):
    Shop.get()
    files = [world.ORDERS, world.ORDERS.replace(b"K2", b"K3")]
    answers = both(lambda api: api.upload(world.orders(files.pop()), preset="tierwise", headers=KEY))
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert ImportRun.objects.count() == 1
    assert len(list((tmp_path / "uploads").glob("*"))) == 1
