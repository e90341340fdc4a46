"""Differential privacy of a network: what a customer can change, what ε it costs, and for whom it is not there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant

from segmentation.ml import artifacts, families, private_training
from segmentation.ml.config import preset
from segmentation.ml.datasets import TensorRows
from segmentation.ml.evaluation import evaluate
from segmentation.ml.networks.blocks import HeadLayout
from segmentation.ml.networks.build import build
from segmentation.ml.private_training import Plan, PrivateTrainer
from segmentation.ml.schema import STANDARD_TARGETS, LearningError
from segmentation.ml.trainer import Trainer
from tests.segmentation.ml.conftest import created
from tests.segmentation.ml.test_estimators import same

CLIP = 0.05
NETWORKS = {
    "mlp": {"hidden": [8]},
    "tabm": {"hidden": [8, 8], "members": 3},
    "ft_transformer": {"hidden": [8]},
}


def trainer(name, customers, *, seed=0):
    """A private fit over few numbers: (trainer, its rows)."""
    torch.manual_seed(seed)
    rows = len(customers)
    layout = HeadLayout(STANDARD_TARGETS)
    network = build(
        {
            "network": name,
            "outputs": layout.width,
            "dropout": 0.0,
            "bins": [[-1.0, 0.0, 1.0]] * 4,
            "category_sizes": [],
            "embedding_width": 4,
            **NETWORKS[name],
        }
    )
    labels = {
        "churn": torch.randint(0, 2, (rows,)).float(),
        "value_tier": torch.randint(0, 4, (rows,)).float(),
        "future_value": torch.randint(0, 3, (rows,)).float(),
    }
    labels["churn"][0] = torch.nan
    config = preset("fast", privacy_epsilon=3.0, privacy_clip=CLIP, batch_size=8)
    made = PrivateTrainer(
        network, layout, config, generator=torch.Generator(), customers=np.asarray(customers)
    )
    return made, TensorRows(torch.randn(rows, 4), torch.zeros(rows, 0, dtype=torch.int64), labels)


def cut_by_hand(made, rows, customer):
    """The gradient of one customer's mean loss, by the ordinary way back, cut to CLIP."""
    index = torch.nonzero(made.codes == customer).squeeze(1)
    total = 0.0
    for row in index:
        made.network.zero_grad()
        Trainer.loss(made, rows.take(row.unsqueeze(0))).backward()
        total = total + torch.cat([weight.grad.flatten() for _name, weight in made.named])
    mean = total / len(index)
    return mean * min(1.0, CLIP / float(mean.norm()))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_adds_up_each_customers_gradient_cut_to_one_length(name):
    customers = [0, 0, 1, 2, 2, 2, 3, 1, 4, 0]
    made, rows = trainer(name, customers)
    drawn = torch.tensor([True, True, True, False, True])
    expected = sum(cut_by_hand(made, rows, customer) for customer in (0, 1, 2, 4))
    assert torch.allclose(made.clipped_sum(rows, drawn), expected, atol=1e-5)


def test_pieces_of_rows_do_not_part_a_customer(monkeypatch):
    made, rows = trainer("mlp", [i // 3 for i in range(30)])
    drawn = torch.ones(10, dtype=torch.bool)
    whole = made.clipped_sum(rows, drawn)
    monkeypatch.setattr(private_training, "ROWS_AT_ONCE", 4)
    assert torch.allclose(made.clipped_sum(rows, drawn), whole, atol=1e-6)


def test_no_customer_moves_a_step_by_more_than_the_clip():
    made, rows = trainer("mlp", [0, 0, 0, 1, 2, 3])
    rows.numeric[:3] *= 100
    rows.labels["future_value"][:3] = 1e6
    with_them = made.clipped_sum(rows, torch.tensor([True, True, True, True]))
    without = made.clipped_sum(rows, torch.tensor([False, True, True, True]))
    assert float((with_them - without).norm()) == pytest.approx(CLIP, rel=1e-4)


def test_epsilon_is_that_of_the_library_and_the_noise_the_least_that_keeps_it():
    plan = Plan(customers=4000, rate=0.03, steps_an_epoch=34, noise=1.1, clip=1.0, delta=1e-5)
    accountant = RDPAccountant()
    accountant.history.append((1.1, 0.03, 340))
    assert plan.epsilon(10) == pytest.approx(accountant.get_epsilon(1e-5), rel=0.01)
    config = preset("fast", privacy_epsilon=2.0)
    found = private_training.plan(config, customers=4000, rows=12_000)
    assert found.delta == 1 / 40_000
    assert found.epsilon(config.epochs) <= 2.0
    assert replace(found, noise=found.noise * 0.98).epsilon(config.epochs) > 2.0


def test_an_epsilon_that_cannot_be_kept_is_refused():
    with pytest.raises(LearningError, match="cannot be kept with 1000000000 customers"):
        private_training.plan(preset("fast", privacy_epsilon=0.001), customers=10**9, rows=1000)


@pytest.mark.parametrize("name", ["mlp", "tabm"])
def test_a_private_network_learns_and_says_what_it_kept(name, shop, tmp_path):
    fitted = created(name, shop, privacy_epsilon=8.0, epochs=6, learning_rate=1e-2).fit(
        shop.train, shop.valid
    )
    found = evaluate(fitted.predict(shop.test), shop.test, STANDARD_TARGETS, rounds=2)
    assert found.targets["churn"].primary.value > 0.6
    assert 7.5 < fitted.privacy_["epsilon"] <= 8.0
    assert fitted.privacy_["customers"] == len(np.unique(shop.train.ids))
    artifacts.save(fitted, tmp_path / "artifact")
    again = artifacts.load(tmp_path / "artifact")
    assert again.privacy_ == fitted.privacy_
    same(again.predict(shop.test), fitted.predict(shop.test))


def test_what_hides_a_customer_does_not_come_from_the_stored_seed(shop):
    """Who knows the seed must not be able to take the noise away."""
    one, other = (
        created("mlp", shop, privacy_epsilon=8.0, epochs=1).fit(shop.train, shop.valid) for _ in range(2)
    )
    weights = [next(fitted.network_.parameters()).detach() for fitted in (one, other)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (("lightgbm",), {}, "lightgbm learns in other ways"),
        ((), {}, "the usual blend"),
        (("mlp", "tabm"), {}, "one network"),
        (("gru",), {}, "gru learns"),
        (("mlp",), {"imbalance": "smote"}, "left as they are"),
        (("mlp",), {"selection": "rfe"}, "left as they are"),
        (("mlp",), {"outliers": "isolation_forest"}, "left as they are"),
    ],
)
def test_privacy_is_refused_where_it_would_not_hold(names, options, told):
    config = preset("default", privacy_epsilon=3.0, **options)
    with pytest.raises(LearningError, match=told):
        families.require_private(names, config)
    families.require_private(names, replace(config, privacy_epsilon=0.0))


def test_an_epoch_that_runs_out_of_memory_is_not_begun_anew_behind_the_back_of_epsilon(monkeypatch):
    made, rows = trainer("mlp", range(20))
    made.progress.batch_size = 64
    steps = []

    def step(*_given):
        steps.append(1)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(made, "_private_step", step)
    with pytest.raises(RuntimeError, match="allocate"):
        made.fit(rows, rows)
    assert len(steps) == 1


def test_a_search_is_refused_beside_privacy():
    with pytest.raises(LearningError, match="Each trial"):
        families.require_private(("mlp",), preset("default", privacy_epsilon=3.0), searching=True)
