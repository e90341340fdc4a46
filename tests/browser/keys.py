"""Going through a page without a mouse."""

from __future__ import annotations

# No page has as many places to stop at.
MOST_STOPS = 250


def press(tab, *keys):
    for key in keys:
        tab.keyboard.press(key)


def focus_on(tab, selector):
    """Go on with Tab until it is reached, as somebody without a mouse does."""
    for _ in range(MOST_STOPS):
        if tab.evaluate("wanted => document.activeElement.matches(wanted)", selector):
            return
        press(tab, "Tab")
    raise AssertionError(f"the Tab key never reaches {selector}")
