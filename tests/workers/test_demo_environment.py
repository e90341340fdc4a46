"""The demo's processes know where they are reached."""

from __future__ import annotations

import pytest

from workers.demo import stages


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, "http://127.0.0.1:8190"), ("https://shop.example.com", "https://shop.example.com")],
)
def test_addresses_to_paste_have_the_port_that_was_asked_for(monkeypatch, given, expected):
    monkeypatch.setenv("SITE_URL", given) if given else monkeypatch.delenv("SITE_URL", raising=False)
    assert stages.environment("127.0.0.1:9", port=8190)["SITE_URL"] == expected
