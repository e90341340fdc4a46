"""How a network learns: optimisers, losses, resuming, memory, shorter numbers, what comes before labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from segmentation.ml import artifacts, pretraining, quantising, search, storage
from segmentation.ml.config import preset, settings_from_text
from segmentation.ml.datasets import tensor_rows
from segmentation.ml.evaluation import evaluate
from segmentation.ml.networks.events import EventEncoder, Events
from segmentation.ml.preprocessing import Encoded
from segmentation.ml.schema import STANDARD_TARGETS, LearningError
from segmentation.ml.sequences import CHANNELS
from segmentation.ml.trainer import Trainer
from tests.segmentation.ml.conftest import created
from tests.segmentation.ml.test_estimators import same


def auc(estimator, shop):
    found = evaluate(estimator.predict(shop.test), shop.test, STANDARD_TARGETS, rounds=2)
    return found.targets["churn"].primary.value


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "sgd"},
        {"optimiser": "rmsprop"},
        {"loss": "focal"},
        {"loss": "hinge"},
        {"precision": "bf16"},
        {"imbalance": "class_weights"},
    ],
    ids=str,
)
def test_every_way_of_learning_learns(options, shop):
    assert auc(created("mlp", shop, **options).fit(shop.train, shop.valid), shop) > 0.72


class Kept:
    """Where states are laid down; a kill after some epochs is an exception from the report."""

    def __init__(self):
        self.content = None

    def read(self):
        return self.content

    def write(self, content):
        self.content = content


class Killed(Exception):
    pass


@pytest.mark.parametrize("name", ["tabm", "customer_net"])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_killed_fit_goes_on_where_it_was_and_ends_the_same(name, optimiser, shop):
    settings = {"optimiser": optimiser, "epochs": 4, "patience": 9, "dropout": 0.2}
    whole = created(name, shop, **settings).fit(shop.train, shop.valid)
    first, kept, seen = created(name, shop, **settings), Kept(), []
    first.checkpoint = kept

    def kill(report):
        if report.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        first.fit(shop.train, shop.valid, on_epoch_end=kill)
    second = created(name, shop, **settings)
    second.checkpoint = kept
    second.fit(shop.train, shop.valid, on_epoch_end=lambda report: seen.append(report.epoch))
    assert seen == [3, 4]
    assert second.history_ == whole.history_
    same(second.predict(shop.test), whole.predict(shop.test))


def test_memory_that_runs_out_halves_the_batch_and_says_so(shop, monkeypatch):
    step = Trainer._step

    def tight(self, batch, **how):
        if len(batch) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, batch, **how)

    monkeypatch.setattr(Trainer, "_step", tight)
    monkeypatch.setattr("segmentation.ml.trainer._may_run_out", lambda device: True)
    estimator = created("mlp", shop, batch_size=128, epochs=3).fit(shop.train, shop.valid)
    assert estimator.notes_ == [
        "Memory ran out, so batches hold 64 rows instead of 128.",
        "Memory ran out, so batches hold 32 rows instead of 64.",
    ]
    straight = created("mlp", shop, batch_size=32, epochs=3).fit(shop.train, shop.valid)
    same(estimator.predict(shop.test), straight.predict(shop.test))


def test_working_states_out_again_changes_nothing_but_memory(shop):
    kept, again = (
        created("customer_net", shop, recompute=value, epochs=2, dropout=0.2).fit(shop.train, shop.valid)
        for value in (False, True)
    )
    same(kept.predict(shop.test), again.predict(shop.test))


def test_another_error_is_no_lack_of_memory(shop, monkeypatch):
    def broken(self, batch, **how):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Trainer, "_step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        created("mlp", shop).fit(shop.train, shop.valid)


def test_a_card_that_is_not_there_is_done_without_and_said(shop):
    # No machine has so many.
    estimator = created("mlp", shop, device="cuda:63", epochs=2).fit(shop.train, shop.valid)
    assert [note[:51] for note in estimator.notes_] == ["cuda:63 could not be used, so the processor learned"]
    same(
        estimator.predict(shop.test),
        created("mlp", shop, epochs=2).fit(shop.train, shop.valid).predict(shop.test),
    )


@pytest.mark.parametrize("kept", [None, Kept()], ids=["from the start", "from the last state"])
def test_a_card_that_falls_away_leaves_the_fit_to_the_processor(kept, shop, monkeypatch):
    settings = {"epochs": 4, "patience": 9, "dropout": 0.2}
    whole = created("mlp", shop, **settings).fit(shop.train, shop.valid)
    epoch, begun, seen = Trainer._epoch, [], []

    def falls_away(self, rows):
        begun.append(self.config.device)
        if len(begun) == 3:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return epoch(self, rows)

    monkeypatch.setattr(Trainer, "_epoch", falls_away)
    estimator = created("mlp", shop, **settings)
    estimator.checkpoint = kept
    estimator.fit(shop.train, shop.valid, on_epoch_end=lambda report: seen.append(report.epoch))
    assert seen == ([1, 2, 3, 4] if kept else [1, 2, 1, 2, 3, 4])
    assert "unspecified launch failure" in estimator.notes_[0]
    same(estimator.predict(shop.test), whole.predict(shop.test))


def test_a_network_that_runs_away_is_told(shop):
    with pytest.raises(LearningError, match="Lower learning_rate, which is 1e\\+30"):
        created("mlp", shop, optimiser="sgd", learning_rate=1e30).fit(shop.train, shop.valid)


@pytest.mark.parametrize("bits", ["int8", "bf16"])
def test_shorter_numbers_are_used_only_where_they_lose_nothing(bits, shop, tmp_path, monkeypatch):
    monkeypatch.setattr("segmentation.ml.neural.NOTHING_LOST", 0.05)
    short = created("tabm", shop, inference=bits).fit(shop.train, shop.valid)
    whole = created("tabm", shop).fit(shop.train, shop.valid)
    assert (short.inference_, short.notes_) == (bits, [])
    artifacts.save(short, tmp_path / "short")
    artifacts.save(whole, tmp_path / "whole")
    few = shop.test.take(np.arange(64))
    same(short.predict(few), artifacts.load(tmp_path / "short").predict(few))
    kept, full = (storage.read_tensors(tmp_path / name / "model.safetensors") for name in ("short", "whole"))
    if bits == "int8":
        assert "int8" in {str(value.dtype) for value in kept.values()}
        assert sum(v.nbytes for n, v in kept.items() if n.startswith("network.")) < 0.7 * sum(
            v.nbytes for n, v in full.items() if n.startswith("network.")
        )
    monkeypatch.setattr("segmentation.ml.neural.NOTHING_LOST", -1.0)
    refused = created("tabm", shop, inference=bits).fit(shop.train, shop.valid)
    assert refused.inference_ == "float32"
    assert f"{bits} lost" in refused.notes_[0]
    same(refused.predict(few), whole.predict(few))


def test_eight_bits_are_within_half_a_step():
    network = torch.nn.Linear(64, 32)
    before, after = network.weight.detach(), quantising.rounded(network).weight.detach()
    step = before.abs().max(dim=1).values / 127
    assert ((before - after).abs() <= step[:, None] / 2 + 1e-7).all()
    kept = quantising.stored(network, small=True)
    assert kept["weight"].dtype == np.int8
    assert np.array_equal(quantising.read(kept)["weight"], after.numpy())


# --- before the labels


def rows_of(shop):
    empty = Encoded(
        np.zeros((len(shop.train), 0), np.float32), np.zeros((len(shop.train), 0), dtype=np.int64)
    )
    return tensor_rows(empty, shop.train, [], device="cpu", events=shop.train.events)


@pytest.mark.parametrize("encoder", ["gru", "lstm", "conv", "transformer"])
def test_a_state_knows_no_later_event(encoder, shop):
    torch.manual_seed(0)
    reader = EventEncoder(
        encoder=encoder, width=16, centre=[0.0] * len(CHANNELS), spread=[1.0] * len(CHANNELS), dropout=0.0
    ).eval()
    events = Events(*rows_of(shop).events)
    numeric = events.numeric.clone()
    numeric[:, 3:] += 5.0
    with torch.inference_mode():
        before, after = reader.states(events), reader.states(events._replace(numeric=numeric))
    assert torch.equal(before[:, :3], after[:, :3])
    long = events.lengths > 4
    assert not torch.allclose(before[long, 4], after[long, 4])


@pytest.mark.parametrize("how", ["contrastive", "next_event", "both"])
def test_what_is_learned_before_the_labels_gets_better(how, shop):
    torch.manual_seed(1)
    reader = EventEncoder(
        encoder="gru", width=16, centre=[0.0] * len(CHANNELS), spread=[1.0] * len(CHANNELS), dropout=0.0
    )
    config = preset("sequence", pretraining=how, pretraining_epochs=5, batch_size=128)
    losses = pretraining.pretrain(reader, rows_of(shop), config, generator=torch.Generator().manual_seed(1))
    assert len(losses) == 5
    assert losses[-1] < 0.97 * losses[0]


def test_a_pretrained_network_is_another_one_and_still_learns(shop):
    plain = created("gru", shop).fit(shop.train, shop.valid)
    taught = created("gru", shop, pretraining="both", pretraining_epochs=2).fit(shop.train, shop.valid)
    assert len(taught.pretraining_) == 2
    assert not np.array_equal(
        plain.predict(shop.test)["churn"].positive, taught.predict(shop.test)["churn"].positive
    )
    assert auc(taught, shop) > 0.7


def test_a_slice_is_a_run_of_the_customers_own_events(shop):
    events = Events(*rows_of(shop).events)
    part = pretraining.random_slice(events, torch.Generator().manual_seed(2))
    assert (part.lengths >= 1).all()
    assert (part.lengths <= events.lengths.clamp(min=1)).all()
    row = int(torch.argmax(events.lengths.long()))
    ages = events.numeric[row, : events.lengths[row], 1].tolist()
    taken = part.numeric[row, : part.lengths[row], 1].tolist()
    start = ages.index(taken[0])
    assert ages[start : start + len(taken)] == taken


def test_a_network_over_events_says_when_there_are_none(shop):
    without = replace(shop.train, events=None)
    with pytest.raises(LearningError, match="reads events, and there are none"):
        created("gru", shop).fit(without, shop.valid)


# --- settings as text, and the next ones to try


def test_settings_are_read_in_their_own_types():
    assert settings_from_text(["recompute=yes"]) == {"recompute": True}
    assert settings_from_text(["hidden=64,32", "epochs=3", "learning_rate=0.01", "optimiser=sgd"]) == {
        "hidden": [64, 32],
        "epochs": 3,
        "learning_rate": 0.01,
        "optimiser": "sgd",
    }
    with pytest.raises(LearningError, match="no setting called depth"):
        settings_from_text(["depth=3"])
    with pytest.raises(LearningError, match="epochs is written like 10; “many” cannot be read"):
        settings_from_text(["epochs=many"])


def test_a_search_comes_nearer_to_what_is_good_than_chance_does():
    space = {
        "learning_rate": search.Range(1e-4, 1e-1),
        "hidden": search.Choice(((32, 32), (64, 64), (128, 128))),
    }

    def loss(settings):
        return abs(np.log10(settings["learning_rate"]) + 2.3) + 0.3 * (tuple(settings["hidden"]) != (64, 64))

    def best(trials, first_at_random):
        tried = []
        for number in range(trials):
            seen = tried[: first_at_random - 1] if first_at_random > trials else tried
            settings = search.propose(space, seen if len(tried) >= 4 else tried, number=number, seed=seed)
            tried.append((settings, loss(settings)))
        return min(value for _settings, value in tried), tried

    guided, random_ = [], []
    for seed in range(8):
        found, tried = best(20, 4)
        guided.append(found)
        again = search.propose(space, tried[:10], number=10, seed=seed)
        assert again == tried[10][0], "the same trials lead to the same proposal, so a search can go on"
        random_.append(min(loss(search.propose(space, [], number=n, seed=seed)) for n in range(20)))
    assert np.mean(guided) < np.mean(random_)
