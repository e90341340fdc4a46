"""Two people have the page of a row open that counts no edits: whoever saves second is told; workers disturb nobody."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connection as database
from django.db import transaction
from django.forms import MultiWidget
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from crm_integration import connections, tokens
from crm_integration.connections import Door
from crm_integration.models import ApiToken, Scope
from segmentation import attributes
from segmentation.admin.editing import OVERTAKEN, OnceForm
from segmentation.admin.shown import ShownForm
from segmentation.models import AttributeDefinition, AuditEntry, ExchangeRate, Target
from tests.crm_integration import fixtures
from tests.segmentation.admin import world


def column():
    return AttributeDefinition.objects.create(slug="vip", label="VIP", kind="choice", choices=["gold", "Eva"])


def target():
    return Target.objects.get(slug="churn")


def rate():
    return ExchangeRate.objects.create(day=date(2024, 6, 1), currency="USD", rate="0.92")


def shopify():
    row = fixtures.connection("web-shop", adapter="shopify", sends_outbound=True, outbound_via="vendor")
    credentials = {"access_token": "shpat_first"}
    connections.save_settings(row, options={"shop_domain": "a.myshopify.com"}, credentials=credentials)
    return row


def token():
    return tokens.issue(name="Reports", scopes=[Scope.values[0]])[0]


def person():
    return User.objects.create_user("eva", "eva@example.com", "a-password")


def role():
    made = Group.objects.create(name="Some role")
    made.permissions.add(*one_permission(0))
    return made


def one_permission(number: int) -> list[int]:
    return [Permission.objects.order_by("pk").values_list("pk", flat=True)[number]]


def theirs_alone() -> list[int]:
    return one_permission(1)


def mine_alone() -> list[int]:
    return one_permission(2)


def typed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value() if callable(value) else value for name, value in values.items()}


def page_of(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def as_opened(client, row) -> dict[str, Any]:
    """What the page would send if nothing were changed on it."""
    shown = client.get(page_of(row)).context["adminform"]
    asked = [field for line in shown for fields in line for field in fields if not field.is_readonly]
    sent: dict[str, Any] = {}
    for field in (one.field for one in asked):
        value, widget = field.value(), field.field.widget
        if isinstance(widget, MultiWidget):
            parts = widget.decompress(value)
            sent |= {f"{field.html_name}_{number}": str(part) for number, part in enumerate(parts)}
        elif value is not False:
            sent[field.html_name] = "on" if value is True else "" if value is None else value
    return sent


def kept(row) -> dict[str, Any]:
    """The row as it is stored, with what it refers to."""
    stored = type(row)._default_manager.get(pk=row.pk)
    many = {field.name: list(getattr(stored, field.name).order_by("pk")) for field in row._meta.many_to_many}
    return {field.attname: getattr(stored, field.attname) for field in row._meta.concrete_fields} | many


def another_person() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="other", is_staff=True, is_superuser=True))
    return client


def is_told(answer) -> bool:
    return answer.status_code == 200 and escape(str(OVERTAKEN)) in answer.content.decode()


ROWS = [
    pytest.param(column, {"label": "Theirs"}, {"label": "Mine"}, id="attribute"),
    pytest.param(column, {"choices": '["theirs"]'}, {"choices": '["mine"]'}, id="choices"),
    pytest.param(target, {"name": "Theirs"}, {"name": "Mine"}, id="target"),
    pytest.param(rate, {"rate": "0.5"}, {"rate": "0.6"}, id="rate"),
    pytest.param(shopify, {"name": "Theirs"}, {"name": "Mine"}, id="connection"),
    pytest.param(
        shopify,
        {"need_shop_domain": "b.myshopify.com"},
        {"need_shop_domain": "c.myshopify.com"},
        id="what-it-needs",
    ),
    pytest.param(
        shopify, {"need_access_token": "shpat_theirs"}, {"need_access_token": "shpat_mine"}, id="credentials"
    ),
    pytest.param(shopify, {"push_tier": "theirs_tier"}, {"name": "Mine"}, id="what-it-writes"),
    pytest.param(token, {"per_minute": "10"}, {"per_minute": "20"}, id="token"),
    pytest.param(person, {"first_name": "Theirs"}, {"first_name": "Mine"}, id="user"),
    pytest.param(person, {"is_active": ""}, {"first_name": "Mine"}, id="user-is-switched-off"),
    pytest.param(person, {"user_permissions": theirs_alone}, {"user_permissions": mine_alone}, id="user-may"),
    pytest.param(role, {"permissions": theirs_alone}, {"permissions": mine_alone}, id="group"),
]


@pytest.mark.parametrize(("made", "theirs", "mine"), ROWS)
def test_of_two_who_edit_at_once_the_second_is_told(admin_client, made, theirs, mine):
    row, other = made(), another_person()
    first, second = as_opened(other, row), as_opened(admin_client, row)
    before = kept(row)
    answer = other.post(page_of(row), {**first, **typed(theirs)})
    assert answer.status_code == 302, answer.context["errors"]
    after = kept(row)
    assert after != before
    entries = AuditEntry.objects.count()
    for _again in range(2):
        assert is_told(admin_client.post(page_of(row), {**second, **typed(mine)}))
    assert kept(row) == after
    assert AuditEntry.objects.count() == entries
    answer = admin_client.post(page_of(row), {**as_opened(admin_client, row), **typed(mine)})
    assert answer.status_code == 302, answer.context["errors"]
    assert kept(row) != after
    assert "seen" not in LogEntry.objects.latest("pk").change_message.lower()


def a_new_choice(row):
    attributes.add_choices(attributes.fit({"vip": "silver"}, {"vip": type(row).objects.get(pk=row.pk)}))
    return {"choices": ["gold", "Eva", "silver"]}


def an_erasure(row):
    type(row).objects.filter(pk=row.pk).update(choices=["gold"])
    return {"choices": ["gold"]}


def a_training(row):
    """Its first version: what it means is told on the page from then on, and asked no more."""
    world.champion(world.version(1))
    Target.objects.filter(pk=row.pk).update(settings={**row.settings, "next_group": 7})
    assert Target.objects.get(pk=row.pk).versions.exists()
    return {"settings": {**row.settings, "next_group": 7}}


def another_days_rate(row):
    ExchangeRate.objects.create(day=date(2024, 6, 2), currency="USD", rate="0.93")
    return {}


def traffic(row):
    at = timezone.now()
    connections.record_failure(row, now=at)
    secret = connections.set_secret(type(row).objects.get(pk=row.pk), Door.INBOUND)
    return {"failures": 1, "failing_since": at, "inbound_secret": secret}


def a_call(row):
    at = timezone.now()
    ApiToken.objects.filter(pk=row.pk).update(last_used_at=at)
    return {"last_used_at": at}


def a_sign_in(row):
    """With a newer hash of the same password."""
    at = timezone.now()
    User.objects.filter(pk=row.pk).update(last_login=at, password="newer$hash")
    return {"last_login": at, "password": "newer$hash"}


def a_member(row):
    User.objects.get(username="root").groups.add(row)
    return {}


@pytest.mark.parametrize(
    ("made", "works", "mine"),
    [
        (column, a_new_choice, {"label": "Mine"}),
        (column, an_erasure, {"label": "Mine"}),
        (target, a_training, {"name": "Mine"}),
        (rate, another_days_rate, {"currency": "CHF"}),
        (shopify, traffic, {"name": "Mine"}),
        (token, a_call, {"name": "Mine"}),
        (person, a_sign_in, {"first_name": "Mine"}),
        (role, a_member, {"name": "Mine"}),
    ],
)
def test_what_a_worker_writes_meanwhile_refuses_nothing_and_stays(admin_client, made, works, mine):
    row = made()
    sent = as_opened(admin_client, row)
    written = works(row)
    answer = admin_client.post(page_of(row), {**sent, **mine})
    assert answer.status_code == 302, answer.context["errors"]
    now = kept(row)
    assert mine.items() <= now.items()
    assert {name: now[name] for name in written} == written


def test_an_erased_choice_does_not_come_back_with_an_edit_of_the_list(admin_client):
    row = column()
    sent = as_opened(admin_client, row)
    an_erasure(row)
    assert is_told(admin_client.post(page_of(row), {**sent, "choices": '["gold", "Eva", "silver"]'}))
    assert kept(row)["choices"] == ["gold"]


def test_deliveries_that_stopped_meanwhile_are_not_switched_on_again_unseen(admin_client):
    row = shopify()
    sent = as_opened(admin_client, row)
    connections.stop_sending(row, reason="nobody answers")
    assert is_told(admin_client.post(page_of(row), {**sent, "name": "Mine"}))
    assert kept(row)["sends_outbound"] is False


@pytest.mark.parametrize("made", [shopify, person])
def test_the_page_tells_neither_a_secret_nor_a_digest_that_can_be_tried_out(admin_client, made):
    """Without the installation's key nobody can compare a guess with it."""
    row = made()
    seen = as_opened(admin_client, row)["seen"]
    assert "shpat_first" not in admin_client.get(page_of(row)).content.decode()
    form = admin.site._registry[type(row)].get_form
    request = admin_client.get(page_of(row)).wsgi_request
    with override_settings(SECRET_KEY="another-key-of-at-least-fifty-characters-that-nobody-uses"):
        other = form(request, row, change=True)(instance=row)["seen"].value()
    marks = [dict(part.split("=") for part in text.split()) for text in (seen, other)]
    assert marks[0].keys() == marks[1].keys()
    assert not set(marks[0].values()) & set(marks[1].values())
    assert "password" not in marks[0]


def test_every_page_that_changes_a_row_asks(rf, admin_user):
    request = rf.get("/")
    request.user = admin_user
    changing = [one for one in admin.site._registry.values() if one.has_change_permission(request)]
    assert len(changing) == 14
    for one in changing:
        row = one.model(pk=1)
        assert issubclass(one.get_form(request, row, change=True), OnceForm | ShownForm), one
        assert "seen" in str(one.get_fieldsets(request, row)), one


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    not database.features.has_select_for_update, reason="this database lets one write at a time"
)
def test_whoever_saves_while_another_is_saving_waits_and_is_told(admin_client):
    row = column()
    sent = as_opened(admin_client, row)

    def post():
        try:
            return is_told(admin_client.post(page_of(row), {**sent, "label": "Mine"}))
        finally:
            database.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            AttributeDefinition.objects.filter(pk=row.pk).update(label="Theirs")
            told = pool.submit(post)
            wait_for_a_lock()
        assert told.result(30)
    assert kept(row)["label"] == "Theirs"


def wait_for_a_lock() -> None:
    """Until another session waits for what this one holds."""
    until = time.monotonic() + 30
    with database.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone():
                return
            assert time.monotonic() < until, "nobody waits"
            time.sleep(0.02)


def test_a_worker_with_an_older_row_takes_back_no_edit(db):
    row = attributes.define("vip", kind="choice", choices=["gold", "Eva"])
    held = {"vip": type(row).objects.get(pk=row.pk)}
    an_erasure(row)
    attributes.add_choices(attributes.fit({"vip": "silver"}, held))
    row.refresh_from_db()
    assert row.choices == ["gold", "silver"]
