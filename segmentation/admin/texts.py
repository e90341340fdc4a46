"""What reads reviews and tickets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _t

from segmentation.admin.base import ReadOnlyAdmin, requires
from segmentation.models import TextModel


@admin.register(TextModel)
class TextModelAdmin(ReadOnlyAdmin):
    """One page in place of a list: the models are few, and what they read is what matters."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from segmentation.dashboard import text_page

        requires(request, "segmentation.view_textmodel")
        return self.page(
            request, "tierwise/texts.html", title=_t("Reviews and tickets"), found=text_page.build()
        )

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Its bytes are nothing to look at."""
        return self.changelist_view(request)
