"""axe-core on an open page: WCAG 2.0 and 2.1, levels A and AA."""

from __future__ import annotations

import pytest

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def script() -> str:
    """axe-core itself, as the development package brings it along."""
    package = pytest.importorskip(
        "axe_playwright_python.base", reason="axe-core is not installed (pip install -r requirements-dev.txt)"
    )
    return package.AXE_SCRIPT


# What the page does about its own size, it does once the next frame is laid out; the one after that shows it.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def violations(tab) -> list[str]:
    """One line for each rule and place that breaks it: rule, what it wants, where, why."""
    tab.evaluate(DRAWN)
    found = tab.evaluate(
        "tags => axe.run(document, {runOnly: tags, resultTypes: ['violations']}).then(all => all.violations.flatMap("
        "rule => rule.nodes.map(node => [rule.id, rule.help, node.target.join(' '), node.failureSummary])))",
        TAGS,
    )
    return [
        f"{rule} ({help_}) at {where}: {' '.join(why.split())[:300]}" for rule, help_, where, why in found
    ]
