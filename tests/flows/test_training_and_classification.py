"""Training and classification through a real worker: started by rows, watched by rows, stopped by rows."""

from __future__ import annotations

import pytest

from segmentation import reasons, scoring_runs, starter, targets, training_runs
from segmentation.models import Customer, Decision, LeaseState, ModelSlot, Score, ScoringRun, TrainingRun
from tests.flows.conftest import wait_until
from tests.segmentation.learning.conftest import QUICK
from tests.support import mini_shop
from tests.support.patience import on_this_machine

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 400
CANCEL_SECONDS = 10


@pytest.fixture
def shop(worker):
    mini_shop.build(320)
    starter.install()
    return targets.install()


def over(run):
    run.refresh_from_db()
    return run.state not in {LeaseState.QUEUED, LeaseState.RUNNING}


def test_a_worker_trains_in_a_child_and_classifies_everyone(shop, worker):
    worker.start()
    run = training_runs.request(shop, preset="fast", config=QUICK)
    wait_until(lambda: over(run), seconds=PATIENCE, alive=worker.alive)
    assert (run.state, run.error) == (LeaseState.DONE, "")
    assert ModelSlot.objects.filter(champion__isnull=False).count() == len(shop)
    scoring = scoring_runs.start()
    wait_until(lambda: over(scoring), seconds=PATIENCE, alive=worker.alive)
    assert scoring.state == ScoringRun.State.DONE
    customers = Customer.objects.count()
    assert Decision.objects.values("customer").distinct().count() == customers
    scored = Score.objects.filter(value__isnull=False).first()
    assert scored is not None
    reasons.ask(scored.customer_id)
    wait_until(lambda: not reasons.missing(scored.customer_id).exists(), seconds=PATIENCE, alive=worker.alive)
    scored = Score.objects.get(customer=scored.customer_id, target=scored.target_id)
    assert scored.reasons["shares"]


def test_a_training_asked_to_stop_stops_within_ten_seconds(shop, worker):
    worker.start()
    run = training_runs.request(shop, preset="default", config={"epochs": 5000, "patience": 5000})
    wait_until(lambda: TrainingRun.objects.get(pk=run.pk).epochs, seconds=PATIENCE, alive=worker.alive)
    run.refresh_from_db()
    assert training_runs.request_cancel(run)
    wait_until(lambda: over(run), seconds=on_this_machine(CANCEL_SECONDS), alive=worker.alive)
    assert run.state == LeaseState.CANCELLED
    assert not run.run_targets.filter(is_active=True).exists()


def test_a_training_whose_worker_is_killed_is_taken_up_again(shop, worker):
    worker.start()
    run = training_runs.request(shop, preset="fast", config={**QUICK, "epochs": 400, "patience": 400})
    wait_until(lambda: TrainingRun.objects.get(pk=run.pk).epochs, seconds=PATIENCE, alive=worker.alive)
    worker.kill()
    TrainingRun.objects.filter(pk=run.pk).update(lease_until=run.created_at)
    worker.start()
    wait_until(lambda: over(run), seconds=PATIENCE, alive=worker.alive)
    assert (run.state, run.attempts) == (LeaseState.DONE, 2)
