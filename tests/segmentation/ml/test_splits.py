from datetime import date

import numpy as np
import pytest

from segmentation.ml import splits
from segmentation.ml.schema import Frame, LearningError


def test_an_origin_learns_only_from_cutoffs_whose_labels_are_complete():
    cutoffs = [date(2024, 1, 1), date(2024, 4, 1), date(2024, 6, 1), date(2024, 7, 1)]
    found = splits.origin(cutoffs, date(2024, 7, 1), horizon_days=90)
    assert found.train == (date(2024, 1, 1), date(2024, 4, 1))


def test_an_origin_without_complete_labels_is_refused():
    with pytest.raises(LearningError, match="90 days"):
        splits.origin([date(2024, 6, 1)], date(2024, 7, 1), horizon_days=90)


def test_held_out_customers_take_all_their_rows_along(shop):
    both = Frame.concat([shop.train, shop.valid])
    rest, held = splits.hold_out_customers(both, 0.2, salt=3)
    assert not set(rest.ids) & set(held.ids)
    assert len(rest) + len(held) == len(both)
    assert len(held) / len(both) == pytest.approx(0.2, abs=0.04)


def test_a_customers_side_does_not_depend_on_who_else_is_there():
    ids = np.arange(1000, dtype=np.int64)
    alone = np.array([splits.stable_share(ids[i : i + 1], salt=1)[0] for i in range(0, 1000, 97)])
    assert (alone == splits.stable_share(ids, salt=1)[::97]).all()
    assert (splits.stable_share(ids, salt=1) != splits.stable_share(ids, salt=2)).all()


def test_shares_are_spread_evenly():
    share = splits.stable_share(np.arange(20_000, dtype=np.int64), salt=0)
    counts = np.histogram(share, bins=10, range=(0, 1))[0]
    assert counts.min() > 1800


def test_too_few_customers_to_hold_any_out_are_refused(shop):
    with pytest.raises(LearningError, match="Add customers"):
        splits.hold_out_customers(shop.train.take(np.array([0])), 0.15)


def test_rows_repeated_across_a_split_are_counted(shop):
    assert splits.shared_rows(shop.train, shop.valid) == 0
    leaked = Frame.concat([shop.valid, shop.train.take(np.arange(7))])
    assert splits.shared_rows(shop.train, leaked) == 7


def test_a_row_on_both_sides_of_a_split_is_refused(shop):
    splits.require_apart(shop.train, shop.valid)
    with pytest.raises(LearningError, match="7 rows are on both sides"):
        splits.require_apart(shop.train, Frame.concat([shop.valid, shop.train.take(np.arange(7))]))


def test_only_cutoffs_with_complete_labels_are_known_on_a_day():
    quarters = [date(2024, 1, 1), date(2024, 3, 31), date(2024, 6, 29), date(2024, 9, 27)]
    assert splits.complete_by(quarters[-1], quarters, horizon_days=90) == tuple(quarters[:3])
    assert splits.complete_by(quarters[-1], quarters, horizon_days=180) == tuple(quarters[:2])
    assert splits.complete_by(quarters[-1], quarters, horizon_days=400) == ()


def test_rows_are_found_by_cutoff(shop):
    found = splits.rows_at(shop.train, [date(2024, 4, 1)])
    assert set(found.cutoffs.astype("datetime64[D]").astype(object)) == {date(2024, 4, 1)}
