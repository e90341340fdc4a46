"""What the long form says about itself."""

from __future__ import annotations

from tests.chaos.report import Report, summary, table
from tests.chaos.trials import Trial


def trial(seconds, **changes):
    seen = {"recovery": seconds, "drained": seconds, "settled": seconds is not None, "accepted": 10}
    return Trial("sqlite", ["rescore"], "kill_pool", **{**seen, **changes}).to_json()


def cells(*trials):
    return {"sqlite": {"trials": list(trials), "stacks": []}}


def test_a_later_run_adds_its_trials_to_those_that_are_there(tmp_path):
    for _ in range(2):
        report = Report(tmp_path / "chaos.json", fresh=False)
        report.cell("sqlite")["trials"].append(trial(3.0))
        report.write()
    assert Report(tmp_path / "chaos.json", fresh=False).tried("sqlite", "kill_pool") == 2
    assert Report(tmp_path / "chaos.json", fresh=True).tried("sqlite", "kill_pool") == 0


def test_a_share_of_trials_is_the_time_that_so_many_did_not_exceed():
    line = summary(cells(*(trial(float(number)) for number in range(1, 21))))[0]
    assert (line["trials"], line["settled"]) == (20, 20)
    assert line["recovery"] == {"p50": 10.0, "p95": 19.0, "max": 20.0}


def test_beside_nothing_lost_stands_what_that_proves():
    assert "300 messages" in table(cells(*(trial(1.0) for _ in range(30))))
    assert "fewer than 1.00%" in table(cells(*(trial(1.0) for _ in range(30))))


def test_a_trial_that_did_not_settle_or_found_something_proves_nothing():
    for bad in (trial(None), trial(1.0, findings=["C1 has no decision"])):
        shown = table(cells(trial(1.0), bad))
        assert "rule of three" not in shown
    assert "| sqlite | kill pool | 2 | 1 |" in table(cells(trial(1.0), trial(None)))
