"""Columns of the shop's own: what they are, and what keeps them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from segmentation import attribute_uses
from segmentation.admin.shown import ShownAdmin, ShownForm
from segmentation.models import AttributeDefinition


class AttributeForm(ShownForm):
    """A column that something asks for keeps its name and kind."""

    kept = ("slug", "kind", "is_rule_field")
    # Imports add choices; an erasure takes those away that only the erased person had.
    background = frozenset({"choices"})

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        changed = [name for name in self.kept if name in self.changed_data]
        if self.instance.pk and changed:
            before = AttributeDefinition.objects.get(pk=self.instance.pk)
            users = attribute_uses.users_of(before)
            if users:
                self.add_error(changed[0], str(attribute_uses.AttributeInUse(before, users)))
        return cleaned


@admin.register(AttributeDefinition)
class AttributeDefinitionAdmin(ShownAdmin):
    form = AttributeForm
    list_display = ("label", "slug", "kind", "is_feature", "is_rule_field", "is_label")
    list_filter = ("kind", "is_feature", "is_label")
    search_fields = ("slug", "label")
    prepopulated_fields = {"slug": ["label"]}

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What asks for a column keeps it; its values go with it."""
        users = [user for definition in objs for user in attribute_uses.users_of(definition)]
        return [str(definition) for definition in objs], {}, set(), users

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        definition = self.get_object(request, object_id)
        users = attribute_uses.users_of(definition) if definition is not None else ()
        if definition is not None and users and self.has_delete_permission(request, definition):
            self.refuse(request, attribute_uses.AttributeInUse(definition, users))
            return self.back_to(definition)
        return super().delete_view(request, object_id, extra_context)
