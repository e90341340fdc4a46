"""Tokens: shown once, kept as a hash, limited in time, scope and pace."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.urls import reverse
from django.utils import timezone

from crm_integration import tokens
from crm_integration.models import ApiToken
from segmentation.models import AuditEntry
from tests.crm_integration import fixtures
from tests.crm_integration.api import world
from tests.segmentation.admin import world as console

pytestmark = pytest.mark.django_db
LIST = "admin:crm_integration_apitoken_changelist"


def everything_stored():
    """The whole database as text."""
    with database.cursor() as cursor:
        told = []
        for table in database.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            told.append(repr(cursor.fetchall()))
    return "".join(told)


def test_the_text_of_a_token_is_kept_nowhere():
    row, text = world.made()
    assert text.startswith(f"tw_{row.prefix}_")
    assert text.rsplit("_", 1)[1] not in everything_stored()
    assert len({world.token() for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("scopes", "adapter", "words"),
    [
        ([], "standard", "at least one"),
        (["customers:burn"], "standard", "customers:burn"),
        (["events:write"], None, "needs a connection"),
        (["events:write"], "another", "needs a connection"),
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(scopes, adapter, words):
    row = None if adapter is None else fixtures.connection("c", adapter=adapter)
    with pytest.raises(tokens.TokenProblem, match=words):
        tokens.issue(name="x", scopes=scopes, connection=row)
    assert not ApiToken.objects.exists()


def test_a_token_works_until_its_last_moment(client):
    now = timezone.now()
    row, text = world.made(["offers:read"], expires_at=now + timedelta(hours=1))
    assert world.Api(client, text).get("/api/offers/").status_code == 200
    assert tokens.state_problem(row, now=now + timedelta(minutes=59)) == ""
    assert tokens.state_problem(row, now=now + timedelta(hours=1))


def test_last_use_is_remembered_and_a_refused_token_is_not_used(client):
    row, text = world.made(["offers:read"])
    assert row.last_used_at is None
    world.Api(client, text).get("/api/offers/")
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    tokens.revoke(row)
    world.Api(client, text).get("/api/offers/")
    row.refresh_from_db()
    assert row.last_used_at == first


# --- pace
def test_the_request_after_the_last_one_of_a_minute_waits(client):
    _row, text = world.made(["offers:read"], per_minute=3)
    api, minute = world.Api(client, text), timezone.now().replace(second=20, microsecond=0)
    with mock.patch.object(timezone, "now", return_value=minute):
        assert [api.get("/api/offers/").status_code for _ in range(3)] == [200] * 3
        answer = api.get("/api/offers/")
        assert (answer.status_code, answer["Retry-After"]) == (429, "40")
        assert answer.json()["type"] == "urn:tierwise:problem:throttled"
    with mock.patch.object(timezone, "now", return_value=minute + timedelta(seconds=40)):
        assert api.get("/api/offers/").status_code == 200


def test_tokens_have_minutes_of_their_own_and_probing_costs_too(client):
    _row, one = world.made(["offers:read"], per_minute=2)
    _row, other = world.made(["offers:read"], per_minute=2)
    with mock.patch.object(timezone, "now", return_value=timezone.now().replace(second=1)):
        assert [world.Api(client, one).get("/api/customers/").status_code for _ in range(3)] == [
            403,
            403,
            429,
        ]
        assert world.Api(client, other).get("/api/offers/").status_code == 200


def test_processes_share_the_count():
    """Each process holds its own copy of the row; the database alone knows how many there were."""
    row, _text = world.made(["offers:read"], per_minute=5)
    copies = [ApiToken.objects.get(pk=row.pk) for _ in range(4)]
    now = timezone.now().replace(second=10)
    waits = [tokens.take_turn(copy, now=now) for _ in range(2) for copy in copies]
    assert waits == [0] * 5 + [50] * 3


# --- console
def test_a_token_is_made_in_the_console_and_shown_on_that_page_alone(admin_client, client):
    row = fixtures.connection("desk")
    made = admin_client.post(
        reverse("admin:crm_integration_apitoken_add"),
        {"name": "Desk", "scopes": ["offers:read", "events:write"], "connection": row.pk, "per_minute": "60"},
    )
    assert made.status_code == 200
    assert "no-store" in made["Cache-Control"]
    text = made.context["text"]
    assert text in made.content.decode()
    assert world.Api(client, text).get("/api/offers/").status_code == 200
    token = ApiToken.objects.get()
    for page in (reverse(LIST), reverse("admin:crm_integration_apitoken_change", args=[token.pk])):
        shown = admin_client.get(page).content.decode()
        assert token.prefix in shown
        assert text not in shown
        assert token.secret_sha256 not in shown
    entry = AuditEntry.objects.get(action="api_token.issued")
    assert entry.detail["scopes"] == ["events:write", "offers:read"]


def test_the_console_refuses_a_writer_without_a_connection_and_a_past_date(admin_client):
    answer = admin_client.post(
        reverse("admin:crm_integration_apitoken_add"),
        {
            "name": "x",
            "scopes": ["events:write"],
            "per_minute": "60",
            "expires_at": "2020-01-01T00:00",
        },
    )
    assert "needs a connection" in answer.content.decode()
    assert "This time has passed." in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_what_a_token_may_do_cannot_be_changed_afterwards(admin_client):
    row, _text = world.made(["offers:read"])
    admin_client.post(
        reverse("admin:crm_integration_apitoken_change", args=[row.pk]),
        {"name": "Renamed", "per_minute": "7", "scopes": ["contact:read"], "expires_at": "2030-01-01T00:00"},
    )
    row.refresh_from_db()
    assert (row.name, row.per_minute) == ("Renamed", 7)
    assert (row.scopes, row.expires_at) == (["offers:read"], None)


def test_a_token_is_revoked_by_a_button_and_never_deleted(admin_client, client):
    row, text = world.made(["offers:read"])
    address = reverse("admin:crm_integration_apitoken_revoke", args=[row.pk])
    assert admin_client.get(address).status_code == 405
    admin_client.post(address)
    assert world.Api(client, text).get("/api/offers/").status_code == 401
    assert AuditEntry.objects.filter(action="api_token.revoked", object_id=str(row.pk)).count() == 1
    assert (
        admin_client.post(reverse("admin:crm_integration_apitoken_delete", args=[row.pk])).status_code == 403
    )


def test_staff_without_the_permission_neither_make_nor_revoke(client):
    call_command("install_roles", verbosity=0)
    row, _text = world.made(["offers:read"])
    client.force_login(console.person("Auditor"))
    assert client.get(reverse(LIST)).status_code == 200
    assert client.get(reverse("admin:crm_integration_apitoken_add")).status_code == 403
    assert client.post(reverse("admin:crm_integration_apitoken_revoke", args=[row.pk])).status_code == 403
    row.refresh_from_db()
    assert row.revoked_at is None


@pytest.mark.parametrize("lookup", ["secret_sha256", "secret_sha256__startswith", "secret_sha256__contains"])
def test_a_filter_in_the_address_cannot_spell_out_a_hash(admin_client, lookup):
    assert admin_client.get(reverse(LIST), {lookup: "a"}).status_code == 400
