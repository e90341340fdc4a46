"""Work that one process does at a time: others find it taken, and it is free again once that process is gone."""

from __future__ import annotations

import pytest

from segmentation.alone import only
from tests.support.patience import wait_until
from tests.support.processes import worker

pytestmark = pytest.mark.django_db(transaction=True)
HOLDING = """
import os, time, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from segmentation.alone import only
with only("reading") as free:
    open({path!r}, "w").write(str(free))
    time.sleep(300)
"""


def _is_free(name: str) -> bool:
    with only(name) as free:
        return free


def test_it_is_taken_while_somebody_is_at_it_and_others_work_is_not():
    with only("reading") as free:
        assert free
        assert not _is_free("reading")
        assert _is_free("writing")
    assert _is_free("reading")


def test_it_is_free_again_when_the_process_that_was_at_it_is_killed(tmp_path):
    path = tmp_path / "said"
    with worker(HOLDING.format(path=str(path))):
        wait_until(lambda: path.exists() and path.read_text(), seconds=60)
        assert path.read_text() == "True"
        assert not _is_free("reading")
    wait_until(lambda: _is_free("reading"))
