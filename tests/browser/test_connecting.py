"""Connecting a CRM as a newcomer does, by keyboard, and finding out why a signature is refused."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.urls import reverse

from crm_integration import connections, inbox
from crm_integration.adapters.examples import PERSON
from crm_integration.connections import Door
from crm_integration.models import Connection, InboundMessage
from segmentation.models import DueCustomer
from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing
from tests.crm_integration.fixtures import decision
from tests.support.patience import on_this_machine

CONNECT = reverse("admin:crm_integration_connection_connect")


def fits(tab, width):
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_a_crm_is_connected_tried_and_watched_by_keyboard(open_page, width):
    tab = open_page(CONNECT, width=width)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fits(tab, width)
    tab.locator("a.tw-choice", has_text="Mautic").focus()
    tab.keyboard.press("Enter")
    tab.locator("[name=need_site]").fill("https://mautic.example.com")
    fits(tab, width)
    tab.keyboard.press("Enter")
    copy = tab.locator("[data-copy=secret]")
    copy.wait_for()
    tab.wait_for_load_state("load")  # its script listens by then
    copy.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=Copied")
    row = Connection.objects.get()
    assert tab.evaluate("navigator.clipboard.readText()") == row.inbound_secret
    # Reloading the page that showed the secret sends no form again, and shows it no more.
    assert tab.url.endswith(reverse("admin:crm_integration_connection_setup", args=[row.pk]))
    fits(tab, width)

    tab.locator("[data-try] button").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("[data-way] li.tw-now")
    inbox.process(InboundMessage.objects.get().pk)
    tab.wait_for_selector("[data-way] li:nth-child(4).tw-now")
    with transaction.atomic():  # as a worker does it: the page never sees one without the other
        DueCustomer.objects.all().delete()
        decision(f"{row.slug}:{PERSON}")
    tab.wait_for_selector("[data-way] li:nth-child(5).tw-done", timeout=1000 * on_this_machine(20))
    assert PERSON in tab.locator("[data-way] li:nth-child(3)").inner_text()
    fits(tab, width)
    tab.reload()
    assert row.inbound_secret not in tab.content()
    assert Connection.objects.count() == 1

    tab.goto(tab.url.removesuffix("setup/") + "change/")
    tab.locator("[data-copy=address]").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=Copied")
    assert tab.evaluate("navigator.clipboard.readText()") == connections.hook_url(row)
    fits(tab, width)


def test_a_message_of_the_crm_itself_is_followed_without_a_click(open_page, client):
    row = fixtures.connection()
    tab = open_page(reverse("admin:crm_integration_connection_setup", args=[row.pk]))
    tab.wait_for_selector("[data-waiting]")
    fixtures.deliver(client, row, fixtures.envelope("ping"))
    inbox.process(InboundMessage.objects.get().pk)
    tab.wait_for_selector("[data-way] li.tw-skipped")
    assert tab.locator("[data-waiting]").is_hidden()


def test_a_pasted_request_is_explained(open_page):
    row = fixtures.connection("web-shop", adapter="shopify", inbound=False)
    connections.set_secret(row, Door.INBOUND, secret="a-text-secret")
    body = '{"id": 7,\n "total": "1.50"}'
    tab = open_page(reverse("admin:crm_integration_connection_tester", args=[row.pk]), width=390)
    made = signing.shopify("a-text-secret\n", body.encode())
    tab.fill("[name=headers]", "\n".join(f"{name}: {value}" for name, value in made.items()))
    tab.fill("[name=body]", body)
    tab.locator("button", has_text="Find out why").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("text=with a newline at its end")
    fits(tab, 390)
