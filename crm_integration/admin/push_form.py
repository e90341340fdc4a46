"""“What we write”: the part of a connection's form in which staff choose outputs and the names they bear in the CRM."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from crm_integration.adapters.base import Adapter
from crm_integration.adapters.pushing import OUTPUTS, PushKind
from crm_integration.models import Connection
from crm_integration.pushed_values import MEANINGS, NAMESPACE, TAG_PREFIX, names_of

PREFIX = "push_"
MOST_PREFIX = 40
NOT_WRITTEN = _("Empty: not written.")
NAMESPACE_PATTERN = r"[A-Za-z0-9_-]{3,255}"


def fields_for(kind: Adapter | None, connection: Connection | None) -> dict[str, forms.Field]:
    """The fields of this part, filled with the present choice; none for a kind that cannot be written to."""
    if kind is None or kind.pushing is None:
        return {}
    names = names_of(connection if connection is not None else Connection(adapter=kind.slug), kind)
    found: dict[str, forms.Field] = {}
    for output in OUTPUTS:
        found[f"{PREFIX}{output}"] = _text(MEANINGS[output], names.fields[output])
    if kind.pushing.has_tags:
        hint = _("Each segment and the tier become a tag that begins so. Empty: no tags.")
        found[f"{PREFIX}tag_prefix"] = _text(_("Tags begin with"), names.tag_prefix, hint, most=MOST_PREFIX)
    if kind.pushing.has_namespace:
        found[f"{PREFIX}namespace"] = _text(_("Namespace of the metafields"), names.namespace)
    if kind.pushing.joins_segments:
        found[f"{PREFIX}segments_joined"] = forms.BooleanField(
            label=_("Also add to segments there"),
            help_text=_("Those whose alias is the short name of a segment here; others are left alone."),
            initial=names.segments,
            required=False,
            widget=UnfoldBooleanSwitchWidget,
        )
    return found


def field_names(kind: Adapter | None) -> tuple[str, ...]:
    return tuple(fields_for(kind, None))


def is_given(data: Any) -> bool:
    """Whether the posted form had this part: another page may save a connection without it."""
    return f"{PREFIX}{OUTPUTS[0]}" in data


def chosen(kind: PushKind, cleaned: dict[str, Any]) -> dict[str, Any]:
    """What to keep in Connection.push. Raises ValidationError with the field's name."""
    fields = {output: str(cleaned.get(f"{PREFIX}{output}") or "").strip() for output in OUTPUTS}
    for output, name in fields.items():
        if name and not re.fullmatch(kind.name_pattern, name):
            raise ValidationError(
                {f"{PREFIX}{output}": _("The CRM does not take this as the name of a field.")}
            )
    given = [name for name in fields.values() if name]
    if len(given) != len(set(given)):
        raise ValidationError(_("Two outputs cannot be written to the same field."))
    told: dict[str, Any] = {"fields": fields}
    if kind.has_tags:
        told["tag_prefix"] = str(cleaned.get(f"{PREFIX}tag_prefix") or "").replace(",", "")
    if kind.has_namespace:
        namespace = str(cleaned.get(f"{PREFIX}namespace") or "").strip() or NAMESPACE
        if not re.fullmatch(NAMESPACE_PATTERN, namespace):
            raise ValidationError(
                {f"{PREFIX}namespace": _("3 to 255 letters, digits, hyphens and underscores.")}
            )
        told["namespace"] = namespace
    if kind.joins_segments:
        told["segments"] = bool(cleaned.get(f"{PREFIX}segments_joined"))
    return told


def _text(label: Any, initial: str, hint: Any = NOT_WRITTEN, most: int = 255) -> forms.Field:
    return forms.CharField(
        label=label,
        help_text=hint,
        initial=initial,
        required=False,
        max_length=most,
        strip=False,
        widget=UnfoldAdminTextInputWidget,
    )


__all__ = ["PREFIX", "TAG_PREFIX", "chosen", "field_names", "fields_for", "is_given"]
