"""Folders of Hugging Face transformers as encoders of pictures: vectors, how pictures are prepared, what is refused."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from segmentation.ml import images, picture_networks, picture_preparation
from segmentation.ml.picture_preparation import Preparation

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
MAPS = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [8, 16],
    "patch_sizes": [3, 3],
    "strides": [2, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
}
WORDS = {**SMALL, "vocab_size": 50, "max_position_embeddings": 8}
NO_PICTURES_ASKED = SimpleNamespace()


@pytest.fixture
def transformers():
    return pytest.importorskip(
        "transformers", reason="transformers of requirements-text.txt is not installed"
    )


@pytest.fixture
def networks(transformers):
    """Small networks with weights by chance, by name."""
    torch.manual_seed(7)
    t = transformers
    made = {
        "vit": lambda: t.ViTModel(t.ViTConfig(**VISION)),
        "resnet": lambda: t.ResNetModel(
            t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        ),
        "convnext": lambda: t.ConvNextModel(
            t.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
        ),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**VISION)),
        "segformer": lambda: t.SegformerModel(t.SegformerConfig(**MAPS)),
        "clip": lambda: t.CLIPModel(t.CLIPConfig(text_config=WORDS, vision_config=VISION, projection_dim=12)),
        "clip_vision": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**VISION)),
        "classifier": lambda: t.ViTForImageClassification(t.ViTConfig(**VISION)),
        "hiding": lambda: t.ViTMAEModel(t.ViTMAEConfig(**VISION)),
        "words": lambda: t.BertModel(t.BertConfig(**WORDS)),
    }
    return lambda kind: made[kind]().eval()


@pytest.fixture
def saved(networks, tmp_path):
    """A folder of the network of that name."""

    def save(kind, **preparation):
        place = tmp_path / kind
        networks(kind).save_pretrained(place)
        if preparation:
            (place / "preprocessor_config.json").write_text(json.dumps(preparation))
        return place

    return save


@pytest.fixture(autouse=True)
def noise(monkeypatch):
    """The first byte of a file draws a picture, so that no decoder is needed. Returns what draws it."""

    def decoded(content: bytes, size: int) -> np.ndarray:
        return np.random.default_rng(content[0]).integers(0, 256, (size, size, 3)).astype(np.uint8)

    monkeypatch.setattr(images, "decoded", decoded)
    return decoded


def unit(vector: torch.Tensor) -> np.ndarray:
    flat = vector.detach().double().flatten().numpy()
    return flat / np.linalg.norm(flat)


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext", "dinov2", "segformer", "clip", "clip_vision"])
def test_a_folder_turns_each_picture_into_one_vector_of_its_own(saved, kind):
    place = str(saved(kind, size=32))
    first = images.encode(b"a", place)
    assert (first.dtype, first.ndim) == (np.float16, 1)
    assert np.linalg.norm(first.astype(float)) == pytest.approx(1, abs=2e-3)
    picture_networks._opened.cache_clear()
    assert np.array_equal(first, images.encode(b"a", place))
    assert not np.allclose(first, images.encode(b"b", place), atol=1e-3)


def test_vectors_are_those_of_the_network_for_the_picture_prepared_as_it_says(saved, transformers, noise):
    mean, spread = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    asked = {"size": {"shortest_edge": 32}, "image_mean": mean, "image_std": spread}
    pixels = torch.from_numpy(noise(b"a", 32)).float() / 255
    pixels = ((pixels - torch.tensor(mean)) / torch.tensor(spread)).permute(2, 0, 1).unsqueeze(0)
    with torch.inference_mode():
        for kind in ("vit", "resnet"):
            place = saved(kind, **asked)
            own = transformers.AutoModel.from_pretrained(place).eval()(pixel_values=pixels).pooler_output
            assert images.encode(b"a", str(place)) == pytest.approx(unit(own), abs=2e-3)
        place = saved("clip", **asked)
        own = transformers.AutoModel.from_pretrained(place).eval().get_image_features(pixel_values=pixels)
        own = own if torch.is_tensor(own) else own.pooler_output
    assert own.shape == (1, 12)
    assert images.encode(b"a", str(place)) == pytest.approx(unit(own), abs=2e-3)


def test_a_pooler_that_the_folder_lacks_is_not_made_up(saved, transformers, noise):
    """A classifier has no pooler; transformers would draw one by chance, another in each process."""
    place = saved("classifier", size=32, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    own = transformers.AutoModel.from_pretrained(place).eval()
    pixels = (torch.from_numpy(noise(b"a", 32)).float() / 255).permute(2, 0, 1).unsqueeze(0)
    tokens = own(pixel_values=pixels).last_hidden_state
    assert images.encode(b"a", str(place)) == pytest.approx(unit(tokens.mean(dim=1)), abs=2e-3)


def test_halves_are_read_too(networks, tmp_path):
    network = networks("resnet")
    network.save_pretrained(tmp_path / "whole")
    network.half().save_pretrained(tmp_path / "half")
    whole, half = (images.encode(b"a", str(tmp_path / kind)) for kind in ("whole", "half"))
    assert half == pytest.approx(whole, abs=5e-3)


def test_a_folder_is_told_from_others_by_weights_and_configs(saved):
    place = saved("vit", size=32)
    names = {images.name(str(place))}
    assert images.name(str(place)) in names
    weights = load_file(place / "model.safetensors")
    save_file(
        {key: value + 1 for key, value in weights.items()}, place / "model.safetensors", {"format": "pt"}
    )
    names.add(images.name(str(place)))
    for config in ("config.json", "preprocessor_config.json"):
        found = json.loads((place / config).read_text())
        (place / config).write_text(json.dumps({**found, "note": "changed"}))
        names.add(images.name(str(place)))
    assert len(names) == 4


def test_new_weights_are_read_without_a_new_process(saved):
    place = saved("resnet", size=32)
    before = images.encode(b"a", str(place))
    weights = load_file(place / "model.safetensors")
    changed = {key: value.flip(0) if value.ndim == 4 else value for key, value in weights.items()}
    save_file(
        {key: value.contiguous() for key, value in changed.items()},
        place / "model.safetensors",
        {"format": "pt"},
    )
    assert not np.allclose(before, images.encode(b"a", str(place)), atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "side"),
    [
        ({"size": 96}, 96),
        ({"size": {"height": 96, "width": 96}}, 96),
        ({"size": {"shortest_edge": 96, "height": None}}, 96),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 96, "width": 96}}, 96),
        ({"size": 256, "crop_size": 96, "do_center_crop": True}, 96),
        ({"size": 96, "crop_size": 256, "do_center_crop": False}, 96),
        ({}, 64),
    ],
)
def test_the_side_is_what_the_folder_says(tmp_path, asked, side):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(asked))
    found = picture_preparation.of_folder(tmp_path, SimpleNamespace(image_size=64))
    assert found == Preparation(side=side)


def test_where_nothing_is_said_pictures_are_prepared_as_usual(tmp_path):
    nested = SimpleNamespace(vision_config=SimpleNamespace(image_size=[48, 48]))
    assert picture_preparation.of_folder(tmp_path, NO_PICTURES_ASKED) == Preparation()
    assert picture_preparation.of_folder(tmp_path, nested) == Preparation(side=48)


def test_mean_and_spread_are_those_of_either_file_unless_switched_off(tmp_path):
    asked = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": asked}))
    found = picture_preparation.of_folder(tmp_path, NO_PICTURES_ASKED)
    assert (found.mean, found.spread) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**asked, "do_normalize": False}))
    found = picture_preparation.of_folder(tmp_path, NO_PICTURES_ASKED)
    assert (found.mean, found.spread) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ('{"size": {"height": 96, "width": 64}}', "no squares"),
        ('{"size": {"longest_edge": 96}}', "no squares"),
        ('{"size": 100000}', "not 1 to 2000"),
        ('{"size": "large"}', "not 1 to 2000"),
        ('{"image_mean": [0.5]}', "three numbers"),
        ('{"image_std": 0.5}', "three numbers"),
        ("[]", "holds no object"),
        ("{", "is no JSON"),
    ],
)
def test_a_preparation_that_makes_no_sense_is_refused(tmp_path, asked, said):
    (tmp_path / "preprocessor_config.json").write_text(asked)
    with pytest.raises(images.NoNetwork, match=said):
        picture_preparation.of_folder(tmp_path, NO_PICTURES_ASKED)


@pytest.fixture
def trap(tmp_path):
    """Python that would leave a file, and the pickle of a call that would; neither is there after a test."""
    sprung = tmp_path / "sprung"

    class Call:
        def __reduce__(self):
            return sprung.touch, ()

    def lay(place):
        code = (
            f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\n"
            "from transformers import ViTModel as Own, ViTConfig as Config\n"
        )
        (place / "own.py").write_text(code)
        for name in ("pytorch_model.bin", "adapter_model.bin"):
            torch.save(Call(), place / name)

    yield lay
    assert not sprung.exists()


def configured(place, **changes):
    path = place / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_code_in_a_folder_is_not_run(saved, trap):
    place = saved("vit", size=32)
    trap(place)
    plain = images.encode(b"a", str(place))
    own = {"AutoModel": "own.Own", "AutoConfig": "own.Config"}
    configured(place, auto_map=own)
    assert np.array_equal(images.encode(b"a", str(place)), plain)
    configured(place, auto_map=own, model_type="own")
    with pytest.raises(images.NoNetwork, match="no code is run"):
        images.encode(b"a", str(place))


def test_pickled_weights_are_not_opened(saved, trap):
    place = saved("vit", size=32)
    trap(place)
    configured(place, transformers_weights="adapter_model.bin")
    with pytest.raises(images.NoNetwork, match=r"model\.safetensors alone is opened"):
        images.encode(b"a", str(place))
    configured(place, transformers_weights=None)
    (place / "adapter_config.json").write_text("{}")
    with pytest.raises(images.NoNetwork, match="adapter: merge it"):
        images.encode(b"a", str(place))
    (place / "adapter_config.json").unlink()
    images.encode(b"a", str(place))
    (place / "model.safetensors").unlink()
    with pytest.raises(images.NoNetwork, match=r"no model\.safetensors.*save_pretrained"):
        images.encode(b"a", str(place))


@pytest.mark.parametrize(
    ("kind", "said"),
    [("words", "turns no picture of 224 by 224"), ("hiding", "the same picture in different ways")],
)
def test_a_network_whose_vectors_say_nothing_is_refused(saved, kind, said):
    with pytest.raises(images.NoNetwork, match=said):
        images.encode(b"a", str(saved(kind)))


def test_a_network_for_other_pictures_is_refused(saved):
    with pytest.raises(images.NoNetwork, match="turns no picture of 64 by 64"):
        images.encode(b"a", str(saved("vit", size=64)))


def test_a_folder_that_lacks_weights_is_refused(saved):
    place = saved("resnet")
    weights = load_file(place / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(images.NoNetwork, match="lacks weights"):
        images.encode(b"a", str(place))


def test_a_folder_of_something_else_is_refused(transformers, tmp_path):
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(images.NoNetwork, match=f"no {name}"):
            images.name(str(tmp_path))
        (tmp_path / name).write_text("{}")
    with pytest.raises(images.NoNetwork, match="does not open"):
        images.encode(b"a", str(tmp_path))


def test_without_transformers_a_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(images.NoNetwork, match=r"not installed here \(requirements-text.txt\)"):
        images.name(str(tmp_path))
