"""Every curl command of docs/api.md, run in a shell against the real application."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crm_integration.api.urls import urlpatterns
from crm_integration.models import Scope
from tests.crm_integration.api import world
from tests.segmentation.admin import world as console

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
COMMANDS = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.mark.django_db(transaction=True)
def test_every_command_does_what_the_page_says(live_server, tmp_path):
    world.filled()
    console.customer("C-42", tier="high")
    (tmp_path / "orders.csv").write_bytes(world.ORDERS)
    (tmp_path / "people.csv").write_text("id\nC-42\n")
    script = COMMANDS.replace("curl -sS", "curl -sS -w '\\n%{http_code}\\n'").replace(
        "-w '\\n%{http_code}\\n' -o /dev/null -w", "-o /dev/null -w"
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={"HOST": live_server.url, "TOKEN": world.token(), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    statuses = re.findall(r"^[1-5]\d\d$", done.stdout, re.MULTILINE)
    assert set(statuses) == {"200", "202", "304"}, done.stdout
    assert len(statuses) == COMMANDS.count("curl ") - 1  # one command only fetches the ETag
    assert '"reason":"data.events[1].data.amount must not be negative."' in done.stdout


def test_every_scope_and_every_list_is_described():
    assert {scope for scope in Scope.values if f"`{scope}`" not in PAGE} == set()
    lists = {
        f"/api/{pattern.pattern}"
        for pattern in urlpatterns
        if re.fullmatch(r"[a-z-]+/", str(pattern.pattern))
    }
    assert {address for address in lists if f"{address}" not in PAGE} == set()
