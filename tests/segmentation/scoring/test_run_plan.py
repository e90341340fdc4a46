"""`classify --plan`: measured on the shop's own customers, and nothing is changed by it."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from segmentation import run_plan, scoring_runs, starter
from segmentation.models import Customer, CustomerFeatures, Decision, Membership, Score, ScoringRun
from segmentation.run_plan import ONCE, Sample


def printed(capsys, **options):
    call_command("classify", plan=True, **options)
    return capsys.readouterr().out


def test_an_empty_shop_gets_a_sentence(db, capsys):
    assert "no customers yet" in printed(capsys)


def test_a_plan_names_time_stages_and_what_it_was_measured_from(champion, capsys):
    starter.install()
    text = printed(capsys, customers=1_000_000, workers=4)
    assert text.startswith("1,000,000 customers with 4 workers: ")
    for stage in ("read", "features", "rules", "scores", "memberships", "decisions", ONCE):
        assert f"\n  {stage} " in text
    assert "Measured now on 60 customers with " in text
    assert "last run" not in text


def test_a_plan_changes_nothing(champion, capsys):
    starter.install()
    versions = dict(Customer.objects.values_list("pk", "input_version"))
    printed(capsys)
    for model in (ScoringRun, Score, CustomerFeatures, Membership, Decision):
        assert not model.objects.exists(), model
    assert dict(Customer.objects.values_list("pk", "input_version")) == versions
    assert not Customer.objects.exclude(scored_as_of=None).exists()


def test_the_last_run_is_told_beside_it(champion, capsys):
    run = scoring_runs.start()
    while shard := scoring_runs.claim_shard(run.pk):
        scoring_runs.run_shard(shard)
    scoring_runs.finish(run.pk)
    assert "The last run classified 60 customers in " in printed(capsys)


@pytest.mark.parametrize("options", [{"customers": 0}, {"workers": 0}])
def test_nonsense_is_refused(db, options):
    with pytest.raises(CommandError, match="1 or more"):
        call_command("classify", plan=True, **options)


def test_workers_share_everything_but_the_shops_own_numbers(monkeypatch):
    monkeypatch.setattr(run_plan.os, "cpu_count", lambda: 2)
    sample = Sample(
        customers=20, events=100, seconds=({"read": 0.02, ONCE: 0.01}, {"read": 0.04, ONCE: 0.01})
    )
    one = run_plan.estimate(sample, customers=1000, workers=1)
    two = run_plan.estimate(sample, customers=1000, workers=2)
    assert (one.low, one.high) == pytest.approx((22.5, 62.5))
    assert (two.low, two.high) == pytest.approx((15.0, 37.5))
    assert run_plan.estimate(sample, customers=1000, workers=8) == two
    assert two.stages == pytest.approx({"read": 30.0, ONCE: 10.0})
