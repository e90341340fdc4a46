"""The REST door in a browser: the page of its document, and the making of a token."""

from __future__ import annotations

import pytest
from django.urls import reverse

from crm_integration.models import ApiToken
from tests.crm_integration.api import world

TOKENS = "admin:crm_integration_apitoken"


def test_the_document_is_shown_and_tried_without_the_internet(open_page, live_server):
    world.filled()
    asked = []
    tab = open_page(reverse("api_docs"))
    tab.on("request", lambda request: asked.append(request.url))
    tab.reload()
    tab.wait_for_selector(".opblock-summary-path")
    tab.locator(".opblock").nth(30).wait_for()
    tab.click(".btn.authorize")
    tab.fill(".auth-container input", world.token())
    tab.click(".auth-btn-wrapper .authorize")
    tab.click(".btn-done")
    tab.click("#operations-token-token_read .opblock-summary-control")
    tab.click("#operations-token-token_read .try-out__btn")
    tab.click("#operations-token-token_read .execute")
    tab.wait_for_selector("#operations-token-token_read .live-responses-table >> text=offers:read")
    assert all(url.startswith((live_server.url, "data:")) for url in asked), asked


@pytest.mark.parametrize("width", [1280, 390])
def test_a_token_is_made_copied_and_revoked(open_page, width):
    tab = open_page(reverse(f"{TOKENS}_add"), width=width)
    tab.fill("[name=name]", "Service desk")
    tab.check("[value='decisions:read']")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.click("[name=_save]")
    tab.wait_for_selector("text=I have copied it")
    text = tab.locator("dd code").first.inner_text()
    assert text.startswith("tw_")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.click("text=I have copied it")
    tab.wait_for_selector("text=Requests a minute")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.click("text=Revoke")
    tab.wait_for_selector("text=It opens nothing any more")
    assert ApiToken.objects.get().revoked_at is not None
    assert text not in tab.content()
