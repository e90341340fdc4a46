"""Every address of the URLconf, as somebody who may not: a new one fails here until it refuses, or is listed as open."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.urls import URLPattern, get_resolver
from django.utils import timezone

pytestmark = pytest.mark.django_db

# Open to everybody, and why: they hold no data, or know by themselves who may.
OPEN = {
    "": "sends on to the console",
    "healthz": "says ok",
    "i18n/setlang/": "a language for this browser",
    "hooks/<slug:slug>/": "wants a signature (tests/crm_integration)",
    "admin/login/": "asks who it is",
    "admin/login/code/": "asks who has shown a password for the code",
    "admin/jsi18n/": "words of the console's scripts",
    "admin/logout/": "ends a session, if there is one",
}
# Opened by tokens, and walked with every kind of them in tests/crm_integration/api/test_routes.py.
BY_TOKEN = "api/"
# For whoever may sign in, whatever else they may do.
SIGNED_IN = {
    "admin/", "admin/password_change/", "admin/password_change/done/", "admin/autocomplete/", "admin/search/",
    "admin/<path:object_id>/", "admin/second-factor/",
}  # fmt: skip
REFUSALS = {302, 401, 403, 404, 405}
VALUES = {"slug": "x", "int": "1", "str": "1", "path": "1", "uuid": "00000000-0000-0000-0000-000000000000"}


def routes(resolver=None, prefix=""):
    """Every pattern from the root, as (text, address with something for each of its parts)."""
    for pattern in (resolver or get_resolver()).url_patterns:
        here = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield here, "/" + filled(here)
        else:
            yield from routes(pattern, here)


def filled(route):
    out = ""
    for number, part in enumerate(route.replace(">", "<").split("<")):
        kind = part.partition(":")[0] if ":" in part else "str"
        out += VALUES[kind] if number % 2 else part
    return out


ROUTES = sorted(set(routes()))
GUARDED = [
    (route, path)
    for route, path in ROUTES
    if route not in OPEN and not route.startswith(BY_TOKEN) and not route.startswith("^")
]


def rows_now():
    models = [
        model
        for app in ("segmentation", "crm_integration", "auth")
        for model in apps.get_app_config(app).get_models()
    ]
    return {model.__name__: model._default_manager.count() for model in models}


def ask(client, path):
    for method in ("get", "post"):
        yield method, getattr(client, method)(path)


def refuses(answer):
    if answer.status_code == 302:
        return "/login/" in answer["Location"] or answer["Location"].startswith(("/admin/", "../"))
    return answer.status_code in REFUSALS


def test_the_addresses_outside_of_console_and_interface_are_these():
    known = {route for route, _path in ROUTES if not route.startswith(("admin/", BY_TOKEN))}
    assert known == {route for route in OPEN if not route.startswith("admin/")}


def test_there_is_something_to_walk():
    assert len(GUARDED) > 100


def test_to_strangers_every_address_is_closed(client):
    before = rows_now()
    opened = [
        (method, route, answer.status_code)
        for route, path in GUARDED
        for method, answer in ask(client, path)
        if not refuses(answer) or (answer.status_code == 302 and "/login/" not in answer["Location"])
    ]
    # Which addresses there are is no secret; what is no page of a model falls through to one that is none.
    assert [found for found in opened if found[1] != "admin/<path:object_id>/"] == []
    assert rows_now() == before


def test_whose_session_ran_out_is_a_stranger(client, admin_user):
    client.force_login(admin_user)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    for route, path in GUARDED[::10]:
        for method, answer in ask(client, path):
            assert answer.status_code in {302, 404, 405}, (method, route)


def test_a_member_of_staff_without_permissions_sees_and_changes_nothing(client, shop):
    client.force_login(User.objects.create_user("nobody", password="x", is_staff=True))
    before = rows_now()
    opened = [
        (method, route, answer.status_code)
        for route, path in GUARDED
        if route not in SIGNED_IN
        for method, answer in ask(client, path)
        if not refuses(answer)
    ]
    assert opened == []
    assert rows_now() == before


def test_a_member_of_staff_who_may_only_look_changes_nothing(client, shop):
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    before = rows_now()
    for route, path in GUARDED:
        for method, answer in ask(client, path):
            assert answer.status_code < 500, (method, route)
    changed = {name for name, count in rows_now().items() if count != before[name]}
    # That somebody looked is written down; the page of the second step lays down their own secret to be confirmed.
    assert changed <= {"AuditEntry", "SecondFactor"}
