"""A real browser on the real pages. It is found by CHROMIUM, or by name on the path; without one these skip."""

from __future__ import annotations

import os
import shutil

import pytest
from django.core.cache import cache

NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="session")
def chromium():
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
    """open_page(address, width) signs in a superuser and gives the page; a script error fails the test."""
    cache.clear()
    troubles: list[str] = []
    contexts = []

    def opened(address: str = "/admin/", *, width: int = 1280):
        user, _ = django_user_model.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
        client.force_login(user)
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        cookie = client.cookies["sessionid"]
        context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.goto(live_server.url + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
