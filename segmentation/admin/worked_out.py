"""Pages of what a worker works out when somebody asks: a list with a way to ask, and a page that waits for the answer."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy as _

from segmentation.admin.base import View, WorkAdmin, requires
from segmentation.dashboard import words


class WorkedOutAdmin(WorkAdmin):
    """Of a Leased model with created_at, requested_by and a large `result`.

    page_template gets {"row"} and what `answer` adds; until the row is over it asks `…_state` whether it is.
    """

    page_template = ""
    page_title: words.Text = ""
    list_select_related = ("requested_by",)
    ordering = ("-id",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/state/", self.state_view, "state")]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("result")

    @admin.display(description=_("asked for"), ordering="id")
    def asked(self, row: Any) -> str:
        return words.moment(row.created_at)

    def state_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        self._requires_view(request)
        return JsonResponse({"waiting": not get_object_or_404(self.model, pk=pk).is_over})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        self._requires_view(request)
        row = get_object_or_404(self.model, pk=object_id)
        return self.page(
            request,
            self.page_template,
            title=self.page_title,
            object=row,
            row=row,
            **self.answer(request, row),
        )

    def answer(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page shows beside the row."""
        raise NotImplementedError

    def _requires_view(self, request: HttpRequest) -> None:
        requires(request, f"segmentation.view_{self.opts.model_name}")
