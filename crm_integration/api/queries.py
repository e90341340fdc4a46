"""What may stand after the question mark: typed, and refused when it is not known."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

LIMIT = 100
MOST = 500


class Filters(serializers.Serializer):
    """A misspelt filter is an error: ignoring it would answer with everybody."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """The parameters by name, with defaults. Raises ValidationError."""
        query = cls(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return query.validated_data

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            known = ", ".join(self.fields) or "–"
            message = _("There is no such parameter; known are: %(known)s.") % {"known": known}
            raise ValidationError({name[:50]: message for name in unknown[:5]})
        return super().to_internal_value(data)


class Query(Filters):
    """Of a list."""

    cursor = serializers.CharField(
        default="", allow_blank=True, max_length=600, help_text="Where the page begins: copied from `next`."
    )
    limit = serializers.IntegerField(
        default=LIMIT, min_value=1, max_value=MOST, help_text="Most results of a page."
    )


class NoFilters(Filters):
    """Of a single resource: nothing."""


def since(of_what: str) -> serializers.DateTimeField:
    return serializers.DateTimeField(required=False, help_text=f"Only {of_what} at or after this time.")
