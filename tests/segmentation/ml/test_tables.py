import numpy as np
import pytest
import torch

from segmentation.ml.networks.blocks import numeric_embeddings, piecewise_bins
from segmentation.ml.networks.tables import PiecewiseTable, for_answering
from tests.segmentation.ml.test_networks import CODES, NUMERIC, network

RNG = np.random.default_rng(5)
# Many bins, two values, one value alone, few values: columns with differently many edges.
MIXED = np.stack(
    [RNG.normal(size=400), RNG.random(400) < 0.3, np.full(400, 2.0), RNG.integers(0, 3, 400)], axis=1
).astype(np.float32)


def asked(bins):
    """Rows on every edge, close beside each, and far beyond the outer ones."""
    points = np.unique([edge for row in bins for edge in row])
    every = np.concatenate([points, points - 1e-3, points + 1e-3, [-50.0, 50.0]])
    return torch.tensor(np.repeat(every[:, None], len(bins), axis=1), dtype=torch.float32)


@pytest.mark.parametrize("columns", [[0], [1], [2, 1], [0, 3], [0, 1, 2, 3]])
def test_a_table_answers_as_the_embeddings_it_is_made_of(columns):
    bins = piecewise_bins(MIXED[:, columns], 8)
    learned = numeric_embeddings(bins, width=4)
    for weights in learned.parameters():
        torch.nn.init.normal_(weights)
    rows = asked(bins)
    with torch.no_grad():
        expected, found = learned(rows), PiecewiseTable(learned)(rows)
    assert found.shape == (len(rows), len(columns), 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert expected.std() > 1


@pytest.mark.parametrize("name", ["fast", "default"])
def test_what_answers_is_the_network_that_learned_and_leaves_it_alone(name):
    learned = network(name)
    before = {key: value.clone() for key, value in learned.state_dict().items()}
    quick = for_answering(learned)
    x, codes = torch.from_numpy(NUMERIC * 3), torch.from_numpy(CODES)
    torch.testing.assert_close(quick(x, codes), learned(x, codes), rtol=1e-5, atol=1e-5)
    assert any(isinstance(part, PiecewiseTable) for part in quick.modules())
    assert before.keys() == learned.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in learned.state_dict().items())
