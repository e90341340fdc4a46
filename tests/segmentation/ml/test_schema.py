import numpy as np
import polars as pl
import pytest

from segmentation.ml import config, schema
from segmentation.ml.schema import CHURN, STANDARD_TARGETS, VALUE_TIER, Frame, LearningError, NotEnoughData


def frame(rows: int = 4) -> Frame:
    return Frame(
        ids=np.arange(rows),
        cutoffs=np.full(rows, np.datetime64("2024-01-01")),
        x=pl.DataFrame({"a": np.arange(rows) * 1.0, "b": ["x"] * rows}),
        labels={"churn": np.arange(rows) % 2.0},
    )


def test_a_frame_takes_rows_by_mask_and_by_position_alike():
    mask = np.array([False, True, False, True])
    by_mask, by_position = frame().take(mask), frame().take(np.array([1, 3]))
    assert by_mask.ids.tolist() == by_position.ids.tolist() == [1, 3]
    assert by_mask.x.equals(by_position.x)
    assert by_mask.labels["churn"].tolist() == [1.0, 1.0]


def test_a_frame_with_parts_of_another_length_is_refused_by_name():
    with pytest.raises(LearningError, match="labels of churn"):
        Frame(
            np.arange(3), np.zeros(3, "datetime64[D]"), pl.DataFrame({"a": [1, 2, 3]}), {"churn": np.zeros(2)}
        )


def test_frames_join_in_order():
    joined = Frame.concat([frame(2), frame(3)])
    assert joined.ids.tolist() == [0, 1, 0, 1, 2]
    assert joined.x.height == 5


def test_text_columns_are_categorical_and_the_rest_numeric():
    assert [column.kind for column in schema.columns_of(frame().x)] == ["numeric", "categorical"]


def test_targets_survive_json():
    for target in STANDARD_TARGETS:
        assert schema.Target.from_json(target.to_json()) == target


def test_unknown_labels_are_masked():
    assert schema.label_mask(CHURN, np.array([0.0, np.nan, 1.0])).tolist() == [True, False, True]
    assert schema.label_mask(VALUE_TIER, np.array([0, -1, 3])).tolist() == [True, False, True]


def test_too_little_data_says_how_much_is_missing():
    error = NotEnoughData({"customers": (4, 200), "orders": (9, 100)})
    assert (
        str(error) == "Not enough data to train. customers: 4 found, 200 needed; orders: 9 found, 100 needed"
    )
    assert error.missing["orders"] == (9, 100)


def test_settings_survive_json_and_unknown_ones_are_refused():
    settings = config.preset("fast", seed=7, hidden=(8, 4))
    assert config.TrainingConfig.from_json(settings.to_json()) == settings
    with pytest.raises(LearningError, match="colour"):
        config.TrainingConfig.from_json({"colour": "red"})


def test_a_preset_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(LearningError, match="default, fast, gpu, sequence"):
        config.preset("huge")
