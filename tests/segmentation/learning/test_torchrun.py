"""`torchrun manage.py train --inline`: its processes learn as one training's own would, and one of them has the run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command

from segmentation import targets, training, training_runs
from segmentation.ml import torchrun
from segmentation.models import LeaseState, ModelVersion, TrainingRun
from tests.flows import conftest as processes

# Two networks, and between them what rank 0 learns alone.
LEARNED = {
    "algorithms": ["mlp", "logistic", "tabm"],
    "config": {"epochs": 2, "hidden": [16], "batch_size": 64},
}
ASKED = [
    "--targets", "churn", "--preset", "fast", "--rounds", "10", "--algorithm", ",".join(LEARNED["algorithms"]),
    "--set", "epochs=2", "--set", "hidden=16", "--set", "batch_size=64",
]  # fmt: skip


def launched(settings, *arguments, script="manage.py", **environment):
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            script, *arguments,
        ],
        cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
        env={**os.environ, "TIERWISE_VAR": str(settings.VAR_DIR), "DATABASE_URL": processes.database_url(), **environment},
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_what_torchrun_starts_learns_as_processes_of_the_trainings_own_do(small_shop, settings):
    targets.install()
    done = launched(settings, "train", "--inline", *ASKED)
    assert done.returncode == 0, done.stdout + done.stderr
    run = TrainingRun.objects.get()
    assert (run.state, run.error, run.attempts) == (LeaseState.DONE, "", 1)
    for version in ModelVersion.objects.filter(algorithm__in=["mlp", "tabm"]):
        assert version.config["notes"] == [
            "Learned by 2 processes, each with its share of batches of 128 rows."
        ]
    assert done.stdout.count("Stops buying: ") == 1, "one of the processes speaks"

    own = training_runs.request(
        targets.active(["churn"]), preset="fast", algorithms=LEARNED["algorithms"],
        config={**LEARNED["config"], "rounds": 10, "ranks": 2},
    )  # fmt: skip
    training.run(training_runs.claim(own.pk))
    own.refresh_from_db()
    assert losses(run) == pytest.approx(losses(own), rel=2e-4)


def losses(run):
    found = [
        loss
        for epoch in run.epochs
        for loss in (epoch["train_loss"], epoch["valid_loss"])
        if loss is not None
    ]
    assert len(found) >= 8
    return found


@pytest.mark.django_db(transaction=True)
def test_a_training_that_cannot_begin_ends_all_that_torchrun_started(settings):
    refused = launched(settings, "train", "--inline", "--targets", "nonsense")
    assert refused.returncode != 0
    assert "no active target called nonsense" in refused.stderr
    assert not TrainingRun.objects.exists()


def test_another_rank_opens_no_database_and_one_without_inline_is_refused(monkeypatch):
    followed = []
    monkeypatch.setattr(torchrun, "follow", lambda: followed.append(True))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("RANK", "1")
    call_command("train", "--inline")
    assert followed == [True]
    with pytest.raises(CommandError, match="Add --inline"):
        call_command("train")
    assert followed == [True]


HELD_UP = """
import datetime, os, time
from segmentation.ml import parallel, torchrun
from tests.segmentation.ml import conftest
from tests.segmentation.ml.test_parallel import estimator

torchrun.SILENCE = datetime.timedelta(seconds=6)
if os.environ["RANK"] == "0":
    shop = conftest.Shop(*(conftest.shop_at(day, customers=200, seed=1) for day in conftest.CUTOFFS))
    with torchrun.led():
        for _fit in range(2):
            print(estimator(shop).fit(shop.train, shop.valid).notes_)
else:
    parallel.take_part = lambda *_told, **_card: time.sleep(600)
    torchrun.follow()
"""


def test_a_rank_that_is_not_heard_of_leaves_the_rest_to_the_first(settings, tmp_path):
    script = tmp_path / "held_up.py"
    script.write_text(HELD_UP)
    done = launched(settings, script=str(script), PYTHONPATH=str(settings.BASE_DIR))
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.splitlines()
    assert "Training on 2 devices stopped" in first
    assert "one device instead" in first
    assert second == "[]", "whom it has lost it does not wait for again"
