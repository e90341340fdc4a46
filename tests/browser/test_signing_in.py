"""Coming in as people do: with the keyboard, with a telephone, with a recovery code, and with too many wrong passwords."""

from __future__ import annotations

import base64
import time

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.contrib.auth.models import User
from django.core.management import call_command

from segmentation.models import SecondFactor, Shop
from tests.browser import axe
from tests.support.patience import on_this_machine

PASSWORD = "a long password"


@pytest.fixture
def door(chromium, live_server, transactional_db):
    """The login page in a browser that was never here, and the person who wants in."""
    Shop.get()
    User.objects.create_superuser("ada", password=PASSWORD)
    contexts = []

    def knocked(width=1280):
        context = chromium.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(1000 * on_this_machine(20))
        tab.goto(live_server.url + "/admin/")
        return tab

    yield knocked
    for context in contexts:
        context.close()


def signs_in(tab, password=PASSWORD):
    tab.focus("[name=username]")
    tab.keyboard.press("Control+a")
    tab.keyboard.type("ada")
    tab.keyboard.press("Tab")
    tab.keyboard.type(password)
    with tab.expect_navigation() as going:
        tab.keyboard.press("Enter")
    return going.value


def app_code(steps=0):
    """Of the present or the next step: both are good for half a minute at least, and the next is newer than the first."""
    key = base64.b32decode(SecondFactor.objects.get().secret)
    return TOTP(key, 6, SHA1(), 30).generate(int(time.time()) + 30 * steps).decode()  # noqa: S303


def fits(tab, width):
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.evaluate(axe.script())
    assert axe.violations(tab) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_second_step_is_set_up_and_asked_for(door, live_server, width):
    tab = door(width)
    fits(tab, width)
    signs_in(tab)
    tab.wait_for_selector("text=What to do next")
    tab.goto(live_server.url + "/admin/second-factor/")
    tab.get_by_role("button", name="Begin").press("Enter")
    tab.wait_for_selector(".tw-qr svg")
    fits(tab, width)
    tab.focus("#id_code")
    tab.keyboard.type(app_code())
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=Your recovery codes")
    codes = tab.locator(".tw-codes code").all_inner_texts()
    assert len(codes) == 10
    fits(tab, width)
    tab.goto(live_server.url + "/admin/second-factor/")
    tab.wait_for_selector("text=The second step is on")
    fits(tab, width)

    again = door(width)
    signs_in(again)
    again.wait_for_selector("text=Type the six digits")
    fits(again, width)
    again.focus("[name=code]")
    again.keyboard.type(app_code(1))
    again.keyboard.press("Enter")
    again.wait_for_selector("text=What to do next")

    lost = door(width)
    signs_in(lost)
    lost.wait_for_selector("text=Type the six digits")
    lost.focus("[name=code]")
    lost.keyboard.type(codes[3])
    lost.keyboard.press("Enter")
    lost.wait_for_selector("text=A recovery code was used; 9 are left.")


def test_wrong_passwords_wait_until_the_operator_ends_it(door, capsys):
    tab = door()
    answers = [signs_in(tab, "wrong").status for _ in range(6)]
    assert answers == [200] * 5 + [429]
    tab.wait_for_selector("text=Too many wrong tries. Wait 1 minute, then try again.")
    assert signs_in(tab).status == 429
    call_command("unlock_sign_in", "ada")
    signs_in(tab)
    tab.wait_for_selector("text=What to do next")
