"""A real browser on the real pages. It is found by CHROMIUM, or by name on the path; without one these skip."""

from __future__ import annotations

import os
import shutil

import pytest
from django.core.cache import cache
from django.utils import translation

from tests.support.patience import on_this_machine

NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="module")
def chromium():
    """Not for longer than a file: while the driver lives, no other test of this process may run a loop of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or next(
        (found for name in NAMES if (found := shutil.which(name))), None
    )
    if path is None:
        pytest.skip("no Chromium on this machine: install it or set CHROMIUM to its path")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        # The driver keeps an event loop in this thread, which Django takes for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, live_server, client, django_user_model):
    """open_page(address, width, language) signs in a superuser and gives the page; a script error fails the test."""
    cache.clear()
    troubles: list[str] = []
    contexts = []

    def opened(address: str = "/admin/", *, width: int = 1280, language: str = "en"):
        user, _ = django_user_model.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
        client.force_login(user)
        context = chromium.new_context(viewport={"width": width, "height": 900}, locale=language)
        contexts.append(context)
        cookie = client.cookies["sessionid"]
        context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(1000 * on_this_machine(20))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.goto(live_server.url + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


class Speech:
    """A flow in one language: `opens` gives pages in it, and `says` is what the interface says for an English text."""

    def __init__(self, language, open_page):
        self.language, self._open = language, open_page

    def opens(self, address: str = "/admin/", **how):
        return self._open(address, language=self.language, **how)

    def says(self, text: str, context: str = "") -> str:
        with translation.override(self.language):
            return translation.pgettext(context, text) if context else translation.gettext(text)


@pytest.fixture(params=["en", "zh-hans"])
def speech(request, open_page):
    return Speech(request.param, open_page)
