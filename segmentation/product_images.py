"""Pictures of products as vectors: read from a folder once, kept by content, used where products are like each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from django.conf import settings
from django.utils.translation import gettext as _

from segmentation.ml import images
from segmentation.models import Product, ProductImage

ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


class PictureProblem(ValueError):
    """The message is a sentence for whoever asked."""


@dataclass
class Report:
    """encoded: pictures worked out; known: whose vector was there already; refused: file name → why."""

    products: int = 0
    encoded: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def read_folder(folder: Path, *, named: Mapping[str, str] | None = None) -> Report:
    """Vectors of the pictures in a folder, each named like its product, or as `named` says (product id → path inside it).

    Raises PictureProblem where nothing can be done at all.
    """
    if not settings.IMAGE_ENCODER:
        raise PictureProblem(
            _(
                "Set IMAGE_ENCODER to a TorchScript file that turns a picture into a vector, "
                "or to a folder that Hugging Face transformers opens."
            )
        )
    if not folder.is_dir():
        raise PictureProblem(_("There is no folder %(folder)s.") % {"folder": folder})
    try:
        encoder = images.name(settings.IMAGE_ENCODER)
    except images.NoPicture as error:
        raise PictureProblem(str(error)) from error
    report = Report()
    for key, path in _files(folder, named, report):
        product = Product.objects.filter(external_id=key).values_list("pk", flat=True).first()
        if product is None:
            report.refused[path.name] = _("There is no product %(key)s.") % {"key": key}
            continue
        try:
            _read(product, path.read_bytes(), encoder, report)
        except images.NoNetwork as error:
            raise PictureProblem(str(error)) from error
        except (images.NoPicture, OSError) as error:
            report.refused[path.name] = str(error)
    return report


def _files(folder: Path, named: Mapping[str, str] | None, report: Report) -> Iterator[tuple[str, Path]]:
    if named is None:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
        yield from ((path.stem, path) for path in found)
        return
    inside = folder.resolve()
    for key, name in named.items():
        path = (folder / name).resolve()
        if path.is_relative_to(inside) and path.is_file():
            yield key, path
        else:
            report.refused[name] = _("There is no such file in the folder.")


def _read(product: int, content: bytes, encoder: str, report: Report) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    same = (
        ProductImage.objects.filter(sha256=sha256, encoder=encoder).values_list("vector", flat=True).first()
    )
    if same is None:
        vector, report.encoded = images.encode(content, settings.IMAGE_ENCODER).tobytes(), report.encoded + 1
    else:
        vector, report.known = bytes(same), report.known + 1
    ProductImage.objects.update_or_create(
        product_id=product, defaults={"sha256": sha256, "encoder": encoder, "vector": vector}
    )
    report.products += 1


def vectors(products: np.ndarray) -> np.ndarray | None:
    """(products, d) of length 1, or zeros for those without a picture; None where none has one.

    Of several encoders the one with the most pictures counts: vectors of two cannot be compared.
    """
    found: dict[str, dict[int, np.ndarray]] = {}
    for row in ProductImage.objects.filter(product__in=products.tolist()):
        found.setdefault(row.encoder, {})[row.product_id] = np.frombuffer(bytes(row.vector), dtype=np.float16)
    if not found:
        return None
    own = max(found.values(), key=len)
    width = len(next(iter(own.values())))
    made = np.zeros((len(products), width))
    for place, key in enumerate(products.tolist()):
        if key in own:
            made[place] = own[key]
    return made
