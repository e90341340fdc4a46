"""Training in a spawned child: a crash, an out-of-memory kill or a cancel ends only the child."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any

import structlog
from django.conf import settings

from segmentation import evaluation_runs, leases, training_runs
from segmentation.models import EvaluationRun, LeaseState, TrainingRun

log = structlog.get_logger(__name__)

RENEW_EVERY = 5.0
POLL_EVERY = 1.0
TERMINATE_GRACE = 5.0
PR_SET_PDEATHSIG = 1


Run = TrainingRun | EvaluationRun


def train(run_id: int) -> None:
    """Claim the run, train it in a child, keep the lease alive, and say how it ended if the child could not."""
    run = training_runs.claim(run_id)
    if run is not None:
        _supervise(run, "train_run", cancel=training_runs.cancel, fail=training_runs.fail)


def evaluate(run_id: int) -> None:
    """The same for an evaluation."""
    run = evaluation_runs.claim(run_id)
    if run is not None:
        _supervise(run, "evaluate_run", cancel=leases.cancel, fail=leases.fail)


def _supervise(
    run: Run, command: str, *, cancel: Callable[[Any], None], fail: Callable[[Any, str], None]
) -> None:
    with tempfile.TemporaryFile() as output:
        child = _spawn(run, command, output)
        try:
            _watch(run, child)
        except leases.Cancelled:
            _stop(child)
            with contextlib.suppress(leases.LeaseLost):  # the child may have written its own end
                cancel(run)
        except leases.LeaseLost:
            _stop(child)
            log.warning("training.lease_lost", run=run.pk)
        else:
            _conclude(run, child.returncode, output, fail)
        finally:
            _stop(child)


def _spawn(run: Run, command: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """A fresh interpreter: CUDA must not be used in a forked child (pytorch issue 40403)."""
    words = [
        sys.executable,
        str(settings.BASE_DIR / "manage.py"),
        command,
        str(run.pk),
        "--fence",
        str(run.fence),
    ]
    return subprocess.Popen(  # noqa: S603
        words,
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
        env={**os.environ, "DEVICE": settings.WORKER_DEVICE},
        start_new_session=True,
    )


def _die_with_parent() -> None:
    """A killed supervisor must not leave a trainer behind (Linux; elsewhere the lost lease stops it)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(run: Run, child: subprocess.Popen[bytes]) -> None:
    renewed = 0.0
    while child.poll() is None:
        if time.monotonic() - renewed > RENEW_EVERY:
            leases.renew(run)
            renewed = time.monotonic()
        elif type(run)._default_manager.filter(pk=run.pk, cancel_requested=True).exists():
            raise leases.Cancelled
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(POLL_EVERY)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """With the ranks of a training on several devices, which are in its process group (segmentation/ml/parallel.py)."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(TERMINATE_GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _conclude(run: Run, returncode: int, output: IO[bytes], fail: Callable[[Any, str], None]) -> None:
    """The child writes its own end; one that died without a word is reported with its last lines."""
    fence = run.fence
    run.refresh_from_db()
    if run.state != LeaseState.RUNNING or run.fence != fence:
        return
    output.seek(max(0, output.seek(0, os.SEEK_END) - 2000))
    tail = output.read().decode(errors="replace").strip()
    reason = f"signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
    fail(run, f"the training process ended with {reason}. {tail}".strip())
