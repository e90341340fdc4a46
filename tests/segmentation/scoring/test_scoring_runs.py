"""Classifying everybody: shards that resume where they stopped, a run that ends by itself, cancel, failures in sight."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from threading import Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from segmentation import leases, registry, scoring, scoring_runs, starter, targets
from segmentation.features import context
from segmentation.jobs import Job
from segmentation.models import AuditEntry, Customer, Decision, LeaseState, Score, ScoringRun, ScoringShard
from tests.segmentation.scoring.conftest import make_version

RUNNING, DONE = ScoringRun.State.RUNNING, ScoringRun.State.DONE


@pytest.fixture
def small_shards(settings, monkeypatch):
    """Three shards of 20 customers, walked 8 at a time."""
    settings.SCORING_SHARD_SIZE = 20
    monkeypatch.setattr(scoring_runs, "CHUNK", dict.fromkeys(("sqlite", "postgresql"), 8))


def work_off(run):
    while shard := scoring_runs.claim_shard(run.pk):
        scoring_runs.run_shard(shard)
    scoring_runs.finish(run.pk)
    run.refresh_from_db()


def test_a_run_scores_everybody_and_sums_up(
    champion, small_shards, nudges, django_capture_on_commit_callbacks
):
    starter.install()
    with django_capture_on_commit_callbacks(execute=True):
        run = scoring_runs.start()
    assert nudges.count((Job.RUN_SHARD, {"run_id": run.pk})) == 3
    assert (run.customers, run.shards.count(), scoring_runs.progress(run)) == (60, 3, 0.0)
    with django_capture_on_commit_callbacks(execute=True):
        work_off(run)
    assert (Job.FINISH_SCORING_RUN, {"run_id": run.pk}) in nudges
    assert (run.state, run.error, scoring_runs.progress(run)) == (DONE, "", 1.0)
    assert run.summary["scored"] == Decision.objects.count() == run.summary["decisions"] == 60
    tiers = Customer.objects.exclude(tier="").values_list("tier", flat=True)
    assert run.summary["tiers"] == {tier: list(tiers).count(tier) for tier in sorted(set(tiers))}
    assert sum(run.summary["priorities"].values()) == 60
    assert run.context.as_of == run.as_of


def test_shards_become_smaller_towards_the_end_so_that_workers_end_together(
    champion, small_shards, monkeypatch
):
    monkeypatch.setattr(scoring_runs, "SMALL_SHARD", 4)
    shards = ScoringShard.objects.filter(run=scoring_runs.start()).order_by("number")
    ids = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    parts = [[key for key in ids if shard.first_id <= key <= shard.last_id] for shard in shards]
    assert [key for part in parts for key in part] == ids
    assert [len(part) for part in parts] == [20, 13, 9, 6, 4, 4, 4]


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_start_together_read_the_shops_numbers_once(champion, small_shards, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("on SQLite both read them, because a wait would hold up its one writer")
    fits = []
    fit_for = context.fit_for

    def counted(*args):
        fits.append(args)
        return fit_for(*args)

    monkeypatch.setattr(context, "fit_for", counted)
    run = scoring_runs.start()
    shards = [scoring_runs.claim_shard(run.pk), scoring_runs.claim_shard(run.pk)]

    def work(shard):
        try:
            scoring_runs.run_shard(shard)
        finally:
            connection.close()

    workers = [Thread(target=work, args=(shard,)) for shard in shards]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(fits) == 1
    assert set(run.shards.values_list("state", flat=True)) == {LeaseState.DONE, LeaseState.QUEUED}


def test_who_comes_in_while_a_run_starts_is_not_counted_on(champion, small_shards, monkeypatch):
    """They are due by their own events; a run that counted them would never be complete."""
    cancel_outdated = scoring_runs._cancel_outdated

    def meanwhile(*args):
        Customer.objects.create(reference="late")
        cancel_outdated(*args)

    monkeypatch.setattr(scoring_runs, "_cancel_outdated", meanwhile)
    run = scoring_runs.start()
    work_off(run)
    assert (run.customers, run.summary["scored"], scoring_runs.progress(run)) == (60, 60, 1.0)


def test_starting_twice_for_a_day_gives_the_run_that_is_running(champion):
    run = scoring_runs.start()
    assert scoring_runs.start() == run
    assert AuditEntry.objects.filter(action="classification.start").count() == 1


def test_a_run_keeps_to_the_versions_it_started_with(champion):
    run = scoring_runs.start()
    assert run.pinned_versions == dict.fromkeys(("churn", "future_value", "value_tier"), champion.pk)


def test_a_killed_workers_shard_resumes_at_its_cursor(champion, small_shards, monkeypatch):
    run = scoring_runs.start()
    shard = scoring_runs.claim_shard(run.pk)
    real, calls = scoring.score_customers, []

    def dies_at_the_second_chunk(ids, *args, **kwargs):
        calls.append(ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(ids, *args, **kwargs)

    monkeypatch.setattr(scoring, "score_customers", dies_at_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        scoring_runs.run_shard(shard)
    row = ScoringShard.objects.get(pk=shard.pk)
    assert (row.state, row.cursor, row.scored) == (LeaseState.RUNNING, calls[0][-1], 8)
    ScoringShard.objects.filter(pk=shard.pk).update(lease_until=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    work_off(run)
    assert run.state == DONE
    assert sum(run.shards.values_list("scored", flat=True)) == 60
    seen = [key for ids in calls for key in ids]
    assert len(seen) == 60 + len(calls[1]), "only the chunk that was lost is worked on again"


def test_a_shard_whose_workers_die_again_and_again_goes_on_as_long_as_it_moves(
    champion, small_shards, monkeypatch
):
    run = scoring_runs.start()
    real, calls = scoring.score_customers, []

    def dies_at_every_second_chunk(ids, *args, **kwargs):
        calls.append(ids)
        if len(calls) % 2 == 0:
            raise KeyboardInterrupt
        return real(ids, *args, **kwargs)

    monkeypatch.setattr(scoring, "score_customers", dies_at_every_second_chunk)
    deaths = 0
    while run.state == RUNNING and deaths < 20:
        try:
            work_off(run)
        except KeyboardInterrupt:
            deaths += 1
            lost = run.shards.filter(state=LeaseState.RUNNING)
            lost.update(lease_until=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
        run.refresh_from_db()
    assert (run.state, run.error) == (DONE, "")
    assert deaths > leases.MAX_ATTEMPTS
    assert sum(run.shards.values_list("scored", flat=True)) == 60


def test_a_worker_that_lost_its_claim_writes_nothing_more(champion, small_shards):
    run = scoring_runs.start()
    shard = scoring_runs.claim_shard(run.pk)
    ScoringShard.objects.filter(pk=shard.pk).update(fence=shard.fence + 1)
    scoring_runs.run_shard(shard)
    assert not Score.objects.exists()
    with pytest.raises(leases.LeaseLost):
        leases.finish(shard)


def test_the_cursor_moves_only_with_its_results(champion, small_shards):
    """The claim is checked inside the transaction: results of a chunk whose claim is gone are undone."""
    run = scoring_runs.start()
    shard = scoring_runs.claim_shard(run.pk)
    ids = scoring_runs._next_ids(shard)
    ScoringShard.objects.filter(pk=shard.pk).update(fence=shard.fence + 1)
    with pytest.raises(leases.LeaseLost):
        scoring.score_customers(
            ids, scoring.pin(), cause=1, inside=scoring_runs._cursor_to(shard, ids[-1], len(ids))
        )
    assert not Score.objects.exists()
    assert not Customer.objects.exclude(scored_as_of=None).exists()


def test_a_cancelled_run_stops_and_keeps_what_is_done(champion, small_shards):
    run = scoring_runs.start()
    first = scoring_runs.claim_shard(run.pk)
    second = scoring_runs.claim_shard(run.pk)
    scoring_runs.run_shard(first)
    assert scoring_runs.cancel(run) is True
    scoring_runs.run_shard(second)
    assert run.state == ScoringRun.State.CANCELLED
    states = sorted(run.shards.values_list("state", flat=True))
    assert states == [LeaseState.CANCELLED, LeaseState.CANCELLED, LeaseState.DONE]
    assert Score.objects.values("customer").distinct().count() == 20
    assert scoring_runs.claim_shard(run.pk) is None
    assert scoring_runs.cancel(run) is False


def test_a_run_with_the_champion_of_before_makes_way_and_writes_nothing_more(champion, small_shards):
    """Its worker is in the middle of a chunk: what it works out must not land after the new run's scores."""
    old = scoring_runs.start()
    shard = scoring_runs.claim_shard(old.pk)
    ids = scoring_runs._next_ids(shard)
    pinned = scoring.pin(pins=old.pinned_versions)
    target = targets.active()[0]
    registry.promote(target, make_version([target], 2))
    new = scoring_runs.start()
    old.refresh_from_db()
    assert (old.state, new.state) == (ScoringRun.State.CANCELLED, ScoringRun.State.RUNNING)
    with pytest.raises(leases.Cancelled):
        scoring.score_customers(
            ids, pinned, cause=1, inside=scoring_runs._cursor_to(shard, ids[-1], len(ids))
        )
    assert not Score.objects.exists()
    assert scoring_runs.start() == new


def test_a_shard_that_keeps_failing_is_seen_and_ends_the_run(champion, small_shards, monkeypatch):
    def broken(ids, *args, **kwargs):
        raise ValueError("disk full")

    monkeypatch.setattr(scoring, "score_customers", broken)
    run = scoring_runs.start()
    for _ in range(3):
        work_off(run)
        run.shards.filter(state=LeaseState.QUEUED).update(run_after=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    assert run.state == ScoringRun.State.FAILED
    assert run.error == "3 of 3 parts failed. The first: ValueError: disk full"
    assert set(run.shards.values_list("state", "attempts")) == {(LeaseState.FAILED, 3)}


def test_an_empty_shop_is_classified_at_once(db):
    run = scoring_runs.start()
    work_off(run)
    assert (run.state, run.summary["customers"]) == (DONE, 0)


def test_a_day_in_the_future_or_before_the_results_is_refused(champion, shop):
    with pytest.raises(scoring_runs.ScoringError, match="in the future"):
        scoring_runs.start(shop.scoring_as_of() + dt.timedelta(days=1))
    scoring.score_customers([Customer.objects.first().pk], scoring.pin(), cause=1)
    with pytest.raises(scoring_runs.ScoringError, match="results as of 2024-03-02 already"):
        scoring_runs.start(shop.today() - dt.timedelta(days=30))
    assert not ScoringRun.objects.exists()


def test_the_command_classifies_here_and_prints_what_came_out(champion, small_shards, capsys):
    call_command("classify", "--inline")
    printed = capsys.readouterr().out
    assert "Tiers: " in printed
    assert ScoringRun.objects.get().state == DONE
    with pytest.raises(CommandError, match="in the future"):
        call_command("classify", "--inline", "--as-of", "2030-01-01")


def test_starting_and_cancelling_need_no_torch():
    """Web processes start runs; torch costs them half a second and 200 MB."""
    code = (
        "import django, os, sys; os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings'); django.setup();"
        "from segmentation import registry, scoring_runs, training_runs, targets;"
        "print([name for name in ('torch', 'lightgbm', 'sklearn') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().splitlines()[-1] == "[]"
