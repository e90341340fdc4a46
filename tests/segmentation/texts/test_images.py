"""Pictures as vectors: TorchScript alone is opened, equal pictures are worked out once, likeness joins names."""

from __future__ import annotations

import io
import sys
import types
from unittest import mock

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import save_file

from segmentation import product_images, purchases
from segmentation.ml import images
from segmentation.models import Product, ProductImage


class Mean(torch.nn.Module):
    """The mean colour of a picture: three numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


@pytest.fixture
def encoder(tmp_path, settings):
    path = tmp_path / "mean.pt"
    torch.jit.save(torch.jit.script(Mean()), str(path))
    settings.IMAGE_ENCODER = str(path)
    return path


@pytest.fixture
def colours(monkeypatch, tmp_path):
    """Files whose first byte is a colour stand for pictures, so that no decoder is needed."""

    def decoded(content: bytes, size: int) -> np.ndarray:
        if not content:
            raise images.NoPicture("This is no picture that can be read: JPEG, PNG or WebP.")
        return np.full((size, size, 3), [content[0], 128, 0], dtype=np.uint8)

    monkeypatch.setattr(images, "decoded", decoded)
    folder = tmp_path / "pictures"
    folder.mkdir()

    def store(name: str, *content: int) -> None:
        (folder / name).write_bytes(bytes(content))

    store("red.jpg", 250, 1)
    store("crimson.PNG", 240, 2)
    store("green.webp", 3)
    store("copy.jpg", 250, 1)
    store("broken.jpg")
    store("nobody.jpg", 9)
    store("notes.txt", 1)
    return folder


@pytest.fixture
def products(db):
    for name in ("red", "crimson", "green", "copy", "broken", "plain"):
        Product.objects.create(external_id=name, name="")
    return np.array(sorted(Product.objects.values_list("pk", flat=True)))


def test_pictures_of_a_folder_become_vectors_and_equal_ones_once(encoder, colours, products, capsys):
    call_command("product_images", str(colours))
    told = capsys.readouterr()
    assert "4 products: 3 pictures worked out, 1 known already, 2 refused." in told.out
    assert "broken.jpg: This is no picture" in told.err
    assert "nobody.jpg: There is no product nobody." in told.err
    assert ProductImage.objects.count() == 4
    call_command("product_images", str(colours))
    assert "0 pictures worked out, 4 known already" in capsys.readouterr().out


def test_a_picture_that_breaks_its_reader_stops_no_other(monkeypatch):
    """Pillow tells a picture that would unpack to gigabytes by an error of no common kind."""
    reader = types.ModuleType("PIL")
    reader.Image = types.SimpleNamespace(open=mock.Mock(side_effect=type("Bomb", (Exception,), {})))
    monkeypatch.setitem(sys.modules, "PIL", reader)
    with pytest.raises(images.NoPicture, match="no picture that can be read"):
        images.decoded(b"x", 224)


def test_products_that_look_alike_are_alike_without_a_word_in_common(encoder, colours, products):
    product_images.read_folder(colours)
    content = purchases._content(products)
    likeness = (content @ content.T).toarray()
    keys = dict(Product.objects.values_list("external_id", "pk"))
    place = {name: int(np.searchsorted(products, key)) for name, key in keys.items()}
    assert likeness[place["red"], place["crimson"]] > likeness[place["red"], place["green"]] + 0.2
    assert likeness[place["plain"]].sum() == 0


def test_without_pictures_products_are_compared_by_words_alone(products):
    assert product_images.vectors(products) is None
    assert purchases._content(products).shape[1] == 1


def test_names_may_be_told_in_a_table_but_lead_nowhere_else(encoder, colours, products, tmp_path, capsys):
    table = tmp_path / "names.csv"
    table.write_text("product,path\nplain,green.webp\nred,../mean.pt\n")
    call_command("product_images", str(colours), names=table)
    assert "1 products" in capsys.readouterr().out
    assert ProductImage.objects.get().product.external_id == "plain"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match="product and path"):
        call_command("product_images", str(colours), names=table)


def test_what_is_lacking_is_said(settings, tmp_path, db):
    for wanted, said in (("", "Set IMAGE_ENCODER"), (str(tmp_path / "gone.pt"), "There is no file")):
        settings.IMAGE_ENCODER = wanted
        with pytest.raises(CommandError, match=said):
            call_command("product_images", str(tmp_path))
    with pytest.raises(CommandError, match="There is no folder"):
        call_command("product_images", str(tmp_path / "nowhere"))


def test_weights_alone_and_pickles_are_not_opened(colours, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"layer": torch.ones(2)}, path)
    with pytest.raises(images.NoNetwork, match="no TorchScript.*save_pretrained"):
        images.encode(b"x", str(path))
    named = tmp_path / "model.safetensors"
    save_file({"layer": torch.ones(2)}, named)
    with pytest.raises(images.NoNetwork, match="name its folder"):
        images.name(str(named))


def test_a_file_that_is_no_network_is_said_once_not_for_each_picture(colours, products, tmp_path, settings):
    path = tmp_path / "weights.pth"
    torch.save({"layer": torch.ones(2)}, path)
    settings.IMAGE_ENCODER = str(path)
    with pytest.raises(CommandError, match="no TorchScript"):
        call_command("product_images", str(colours))
    assert not ProductImage.objects.exists()


def test_a_network_that_answers_something_else_is_refused(colours, tmp_path):
    class Whole(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    path = tmp_path / "whole.pt"
    torch.jit.save(torch.jit.script(Whole()), str(path))
    with pytest.raises(images.NoPicture, match="one vector"):
        images.encode(b"x", str(path))


def test_a_network_for_other_pictures_is_refused_and_does_not_end_the_command(colours, tmp_path):
    class Narrow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(1, 3)

    path = tmp_path / "narrow.pt"
    torch.jit.save(torch.jit.script(Narrow()), str(path))
    with pytest.raises(images.NoPicture, match="takes no picture of 224 by 224"):
        images.encode(b"x", str(path))


def test_a_picture_that_would_fill_the_memory_is_refused(monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="Pillow of requirements-text.txt is not installed")
    held = io.BytesIO()
    image.new("RGB", (64, 64)).save(held, "PNG")
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(images.NoPicture, match="no picture"):
        images.decoded(held.getvalue(), 224)


def test_a_real_picture_is_cut_to_its_middle_and_garbage_is_refused():
    image = pytest.importorskip("PIL.Image", reason="Pillow of requirements-text.txt is not installed")
    picture = image.new("RGB", (400, 200), (255, 0, 0))
    picture.paste((0, 0, 255), (100, 0, 300, 200))
    held = io.BytesIO()
    picture.save(held, "PNG")
    found = images.decoded(held.getvalue(), 96)
    assert found.shape == (96, 96, 3)
    assert (found[:, 5:-5] == [0, 0, 255]).all()
    with pytest.raises(images.NoPicture, match="no picture"):
        images.decoded(b"GIF89a nothing", 96)
