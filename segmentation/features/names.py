"""What columns of a feature frame are called by staff."""

from __future__ import annotations

from segmentation.features.catalogue import BY_NAME
from segmentation.models import AttributeDefinition

ATTRIBUTE = "attribute."


def column_label(name: str) -> str:
    """The catalogue's label of a feature, the shop's own name of an attribute."""
    if name in BY_NAME:
        return str(BY_NAME[name].label)
    slug = name.removeprefix(ATTRIBUTE)
    found = AttributeDefinition.objects.filter(slug=slug).values_list("label", flat=True).first()
    return found or slug
