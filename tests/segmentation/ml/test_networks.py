import numpy as np
import pytest
import torch

from segmentation.ml.config import preset
from segmentation.ml.datasets import TensorRows, shuffled_batches
from segmentation.ml.networks.blocks import HeadLayout, piecewise_bins
from segmentation.ml.networks.build import build, describe
from segmentation.ml.networks.events import Block
from segmentation.ml.schema import CHURN, FUTURE_VALUE, STANDARD_TARGETS, LearningError
from segmentation.ml.trainer import Trainer, repeatable

RNG = np.random.default_rng(0)
NUMERIC = RNG.normal(size=(64, 3)).astype(np.float32)
CODES = RNG.integers(0, 4, size=(64, 2))


def network(name, *, numeric=NUMERIC, sizes=(4, 4), outputs=8):
    config = preset(name, hidden=(16, 16), ensemble=3 if name == "default" else 1)
    return build(
        describe(config, bins=piecewise_bins(numeric, 4), category_sizes=sizes, outputs=outputs)
    ).eval()


@pytest.mark.parametrize(("name", "members"), [("fast", 1), ("default", 3)])
def test_a_network_answers_per_row_member_and_output(name, members):
    answers = network(name)(torch.from_numpy(NUMERIC), torch.from_numpy(CODES))
    assert answers.shape == (64, members, 8)
    assert torch.isfinite(answers).all()


@pytest.mark.parametrize("name", ["fast", "default"])
def test_a_network_reads_numbers_alone_and_categories_alone(name):
    none = np.zeros((64, 0))
    only_numbers = network(name, sizes=())(torch.from_numpy(NUMERIC), torch.from_numpy(none.astype(np.int64)))
    numbers_free = network(name, numeric=none.astype(np.float32))
    only_codes = numbers_free(torch.from_numpy(none.astype(np.float32)), torch.from_numpy(CODES))
    assert only_numbers.shape[0] == only_codes.shape[0] == 64


def test_the_members_of_an_ensemble_differ():
    answers = network("default")(torch.from_numpy(NUMERIC), torch.from_numpy(CODES))
    assert not torch.allclose(answers[:, 0], answers[:, 1])


@pytest.mark.parametrize("name", ["fast", "default"])
def test_a_network_is_rebuilt_from_its_description_and_weights(name):
    first, second = network(name), network(name)
    second.load_state_dict(first.state_dict())
    x, codes = torch.from_numpy(NUMERIC), torch.from_numpy(CODES)
    assert torch.equal(first(x, codes), second(x, codes))


def test_asked_for_its_first_step_alone_a_block_answers_as_for_all():
    block = Block(16, 0.1, causal=False).eval()
    tokens = torch.from_numpy(RNG.normal(size=(5, 7, 16)).astype(np.float32))
    assert torch.allclose(block(tokens, first=1), block(tokens)[:, :1], atol=1e-6)


def test_an_unknown_network_is_refused():
    with pytest.raises(LearningError, match="mlp, tabm"):
        build({"network": "oracle"})


def test_heads_split_the_outputs_in_the_order_of_the_targets():
    layout = HeadLayout(STANDARD_TARGETS)
    parts = layout.split(torch.arange(8.0).expand(2, 1, 8))
    assert layout.width == 8
    assert parts["churn"][0, 0].tolist() == [0.0]
    assert parts["value_tier"][0, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert parts["future_value"][0, 0].tolist() == [5.0, 6.0, 7.0]


def test_bins_rise_and_a_constant_column_still_has_one():
    bins = piecewise_bins(np.column_stack([NUMERIC[:, 0], np.zeros(64)]), 8)
    assert all((np.diff(edges) > 0).all() for edges in bins)
    assert len(bins[1]) == 2


def rows(n=256, *, spoil=False):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32))
    churn = (x[:, 0] > 0).float() if not spoil else torch.from_numpy(rng.integers(0, 2, n)).float()
    spend = torch.where(churn > 0, 0.0, torch.exp(x[:, 1]))
    return TensorRows(x, torch.zeros((n, 0), dtype=torch.int64), {"churn": churn, "future_value": spend})


def trained(*, on_epoch_end=None, valid=None, seed=1, **settings):
    config = preset("fast", hidden=(16,), batch_size=64, seed=seed, **settings)
    layout = HeadLayout((CHURN, FUTURE_VALUE))
    with repeatable(seed) as generator:
        bins = piecewise_bins(rows().numeric.numpy(), 8)
        net = build(describe(config, bins=bins, category_sizes=(), outputs=layout.width))
        trainer = Trainer(net, layout, config, generator=generator, on_epoch_end=on_epoch_end)
        trainer.fit(rows(), valid or rows())
    return trainer


def test_training_lowers_the_loss_and_reports_each_epoch():
    reports = []
    trainer = trained(epochs=6, patience=6, learning_rate=0.01, on_epoch_end=reports.append)
    assert [r.epoch for r in reports] == [1, 2, 3, 4, 5, 6]
    assert trainer.history_[-1].train < 0.8 * trainer.history_[0].train


def test_training_ends_with_the_weights_of_the_best_epoch():
    trainer = trained(epochs=40, patience=3, valid=rows(spoil=True), learning_rate=0.03)
    best = min(loss.valid for loss in trainer.history_)
    assert len(trainer.history_) < 40
    assert trainer.evaluate(rows(spoil=True)) == pytest.approx(best, rel=1e-6)
    assert trainer.history_[-1].valid > best


def test_a_callback_that_raises_stops_the_fit_at_once():
    class Stop(Exception):
        pass

    seen = []

    def stop(report):
        seen.append(report.epoch)
        if report.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        trained(epochs=9, on_epoch_end=stop)
    assert seen == [1, 2]


def test_a_fit_repeats_with_its_seed_and_leaves_the_process_random_numbers_alone():
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first, second, other = trained(epochs=2), trained(epochs=2), trained(epochs=2, seed=2)
    assert first.history_ == second.history_
    assert first.history_ != other.history_
    assert torch.equal(before, torch.get_rng_state())


def test_batches_hold_every_row_once():
    data = rows(100)
    data.labels["churn"][:] = torch.arange(100.0)
    seen = [b.labels["churn"] for b in shuffled_batches(data, size=32, generator=torch.Generator())]
    assert sorted(torch.cat(seen).tolist()) == list(range(100))
    assert [len(part) for part in seen] == [32, 32, 32, 4]
