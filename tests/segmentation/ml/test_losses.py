import math

import numpy as np
import pytest
import torch
from scipy.special import expit, ndtr
from scipy.stats import lognorm

from segmentation.ml import losses, ziln


def test_binary_loss_by_hand():
    logits = torch.tensor([[[0.0]], [[2.0]], [[-1.0]]])
    labels = torch.tensor([1.0, 0.0, math.nan])
    by_hand = (math.log(2) + math.log(1 + math.e**2)) / 2
    assert float(losses.binary_loss(logits, labels)) == pytest.approx(by_hand, rel=1e-6)


def test_multiclass_loss_by_hand():
    logits = torch.tensor([[[0.0, math.log(3.0)]], [[5.0, 5.0]], [[9.0, 0.0]]])
    labels = torch.tensor([1.0, 0.0, -1.0])
    by_hand = (-math.log(0.75) - math.log(0.5)) / 2
    assert float(losses.multiclass_loss(logits, labels)) == pytest.approx(by_hand, rel=1e-6)


def test_ziln_loss_by_hand():
    raw = torch.tensor([[[0.5, 1.0, 0.2]], [[-0.3, 2.0, -1.0]]])
    labels = torch.tensor([0.0, 4.0])
    sigma = math.log(1 + math.exp(-1.0)) + losses.MIN_SIGMA
    none = math.log(1 + math.exp(0.5))
    buys = math.log(1 + math.exp(0.3)) - lognorm.logpdf(4.0, s=sigma, scale=math.exp(2.0))
    assert float(losses.ziln_loss(raw, labels)) == pytest.approx((none + buys) / 2, rel=1e-5)


def test_every_member_of_an_ensemble_counts_alike():
    logits = torch.tensor([[[0.0], [2.0]]])
    alone = [losses.binary_loss(logits[:, [i]], torch.tensor([1.0])) for i in (0, 1)]
    assert float(losses.binary_loss(logits, torch.tensor([1.0]))) == pytest.approx(float(sum(alone)) / 2)


@pytest.mark.parametrize("loss", [losses.binary_loss, losses.ziln_loss])
def test_a_batch_without_labels_teaches_nothing(loss):
    outputs = torch.zeros((2, 1, 3), requires_grad=True)
    value = loss(outputs[..., :1] if loss is losses.binary_loss else outputs, torch.full((2,), math.nan))
    value.backward()
    assert value.item() == 0.0
    assert (outputs.grad == 0).all()


def test_ziln_gradients_stay_finite_for_extreme_spend():
    outputs = torch.zeros((2, 1, 3), requires_grad=True)
    losses.ziln_loss(outputs, torch.tensor([1e9, 0.0])).backward()
    assert torch.isfinite(outputs.grad).all()


def test_ziln_mean_and_quantiles_agree_with_a_simulation():
    rng = np.random.default_rng(4)
    buys = rng.random(400_000) < 0.6
    spend = np.where(buys, np.exp(rng.normal(3.0, 0.8, 400_000)), 0.0)
    law = ziln.ZeroInflatedLogNormal(np.array([0.6]), np.array([3.0]), np.array([0.8]))
    assert law.mean()[0] == pytest.approx(spend.mean(), rel=0.02)
    assert law.quantile(0.5)[0] == pytest.approx(np.quantile(spend, 0.5), rel=0.03)
    assert law.quantile(0.9)[0] == pytest.approx(np.quantile(spend, 0.9), rel=0.02)
    assert law.quantile(0.1)[0] == 0.0


@pytest.mark.parametrize("buys", [0.3, 0.6, 0.89, 0.91, 0.99])
def test_the_interval_holds_four_fifths_of_the_customers(buys):
    """Both tails of a tenth cannot be cut where more than a tenth spends nothing: nine tenths would be inside."""
    rng = np.random.default_rng(4)
    spend = np.where(rng.random(400_000) < buys, np.exp(rng.normal(3.0, 0.8, 400_000)), 0.0)
    lower, upper = ziln.ZeroInflatedLogNormal(np.array([buys]), np.array([3.0]), np.array([0.8])).interval()
    inside = (spend >= lower) & (spend <= upper)
    assert inside.mean() == pytest.approx(0.8, abs=0.005)


def test_who_buys_next_to_nothing_has_an_interval_of_nothing():
    lower, upper = ziln.ZeroInflatedLogNormal(np.array([0.1]), np.array([3.0]), np.array([0.8])).interval()
    assert (lower[0], upper[0]) == (0.0, 0.0)


def test_the_mean_of_buyers_is_capped_at_the_largest_spend_seen():
    law = ziln.ZeroInflatedLogNormal(np.array([0.5]), np.array([50.0]), np.array([3.0]))
    assert law.mean(largest=1000.0)[0] == pytest.approx(500.0)


def test_members_merge_into_one_law_with_their_mean_and_variance():
    positive, mu, sigma = np.array([[0.2, 0.6]]), np.array([[1.0, 3.0]]), np.array([[0.5, 1.0]])
    merged = ziln.merge_members(positive, mu, sigma)
    centre = 0.25 * 1.0 + 0.75 * 3.0
    variance = 0.25 * (0.25 + 1.0) + 0.75 * (1.0 + 9.0) - centre**2
    assert merged.positive[0] == pytest.approx(0.4)
    assert merged.mu[0] == pytest.approx(centre)
    assert merged.sigma[0] == pytest.approx(math.sqrt(variance))


def test_a_quantile_solves_the_laws_distribution_function():
    law = ziln.ZeroInflatedLogNormal(expit(np.array([0.3])), np.array([2.0]), np.array([0.7]))
    q = law.quantile(0.8)[0]
    reached = 1 - law.positive[0] + law.positive[0] * ndtr((math.log(q) - 2.0) / 0.7)
    assert reached == pytest.approx(0.8)
