"""Every address of the console, and every method, as each role: exactly what access_table.py says."""

from __future__ import annotations

import re
from functools import cache

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.messages.storage.base import BaseStorage
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, resolve, reverse

from crm_integration import roles as door_roles
from segmentation import roles
from tests.segmentation.admin import access_table as table
from tests.segmentation.admin import world

pytestmark = pytest.mark.django_db
WHERE = "tests/segmentation/admin/access_table.py"


class Silent(BaseStorage):
    def _get(self, *args, **kwargs):
        return [], True

    def _store(self, messages, response, *args, **kwargs):
        return []


@cache
def patterns():
    """(name, route) of every named address of the console."""
    return [(one.name, route) for route, one in _walk(admin.site.get_urls()) if one.name]


def _walk(found, before=""):
    for one in found:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _walk(one.url_patterns, route)
        elif isinstance(one, URLPattern):
            yield route, one


@pytest.fixture
def people(db):
    """A person of each role by its letter; the shop they look at is returned beside them."""
    rows = world.shop_with_everything()
    roles.install()
    door_roles.install()
    found = {}
    for letter, name in table.ROLES.items():
        found[letter] = User.objects.create_user(f"role-{letter}", is_staff=True)
        found[letter].groups.add(Group.objects.get(name=name))
    return found, rows


def model_of(name):
    """The model in the name of an address, where it is one of a model."""
    found = re.match(r"(?:auth|crm_integration|segmentation)_([a-z]+)_", name)
    return found[1] if found else ""


def address(name, route, rows):
    """With the id of a row that exists where there is one: what a missing row answers comes after the permission."""
    names = re.findall(r"<(?:\w+:)?(\w+)>", route) + re.findall(r"\?P<(\w+)>", route)
    given = {one: rows.get(model_of(name), 1) for one in names}
    given |= {key: value for key, value in table.ARGUMENTS.items() if key in given}
    if "target_pk" in given:
        given["target_pk"] = rows["target"]
    if name == "app_list":
        given["app_label"] = "segmentation"
    return reverse(f"admin:{name}", kwargs=given)


def is_let_in(method, path, user):
    request = getattr(RequestFactory(), method)(path)
    request.user, request.session, request._dont_enforce_csrf_checks = user, {}, True
    request._messages = Silent(request)
    view, args, kwargs = resolve(path)
    try:
        with transaction.atomic():
            answer = view(request, *args, **kwargs)
            transaction.set_rollback(True)
    except PermissionDenied:
        return False
    except Http404:
        return True
    if answer.status_code == 302 and answer["Location"].startswith(reverse("admin:login")):
        return False
    assert answer.status_code < 500
    return answer.status_code != 403


def addresses(rows):
    """(name, address) of all; the history of a row that is not there says nothing, so it is looked at where one is."""
    for name, route in patterns():
        model = name.rsplit("_", 1)[0].split("_", 1)[-1]
        if name in table.EVERYBODYS or (name.endswith("_history") and model not in rows):
            continue
        yield name, address(name, route, rows)


def line_of(name, looks, acts):
    return f'    "{name}": ("{looks}", "{acts}"),'


def found_out(people, rows):
    lines = {}
    for name, path in addresses(rows):
        methods = ("get",) if name.endswith(("_changelist", "_history")) else ("get", "post")
        who = dict.fromkeys(("get", "post"), "") | {
            method: "".join(letter for letter, user in people.items() if is_let_in(method, path, user))
            for method in methods
        }
        lines[name] = (who["get"], who["post"])
    return lines


def test_every_page_and_button_opens_to_exactly_whom_the_table_names(people):
    found = found_out(*people)
    wrong = [
        f"{WHERE} says {table.CONSOLE.get(name, 'nothing')}, but it is\n{line_of(name, *who)}"
        for name, who in found.items()
        if table.CONSOLE.get(name) != who
    ]
    gone = sorted(table.CONSOLE.keys() - found.keys())
    assert not wrong, (
        "Who may look (GET) and act (POST) has changed, or an address is new. If it is meant, put the line below into "
        f"CONSOLE of {WHERE}; if not, repair the permission of the view (admin/base.py: requires, post_only) or the "
        "roles (segmentation/roles.py, crm_integration/roles.py).\n" + "\n".join(wrong)
    )
    assert not gone, f"take these out of CONSOLE in {WHERE}: {gone}"


def test_actions_of_lists_are_offered_to_exactly_whom_the_table_names(people):
    found = {}
    for model, door in admin.site._registry.items():
        for letter, user in people[0].items():
            request = RequestFactory().get("/")
            request.user = user
            if not door.has_view_permission(request):
                continue
            for action in door.get_actions(request):
                found.setdefault(f"{model._meta.label_lower}: {action}", set()).add(letter)
    said = {name: "".join(letter for letter in table.ROLES if letter in who) for name, who in found.items()}
    assert said == table.ACTIONS, f"ACTIONS in {WHERE} should say\n" + "\n".join(
        f'    "{name}": "{who}",' for name, who in sorted(said.items()) if table.ACTIONS.get(name) != who
    )
