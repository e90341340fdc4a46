"""Decisions as they were made, newest first, and the page of one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from segmentation import decisions
from segmentation.admin.base import ReadOnlyAdmin, badge, requires
from segmentation.admin.offers import customer_link
from segmentation.dashboard import words
from segmentation.models import Decision
from segmentation.models.customers import PriorityLevel


class DecisionPage:
    """What the decision card of a customer's page shows, for one decision."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.explanation = decisions.explain(decision)


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("decided_at", "whom", "cause", "offer", "campaign", "level")
    list_display_links = ("decided_at",)
    list_select_related = ("customer", "offer", "campaign")
    list_filter = ("campaign", "cause")
    ordering = ("-id",)

    @admin.display(description=_("customer"))
    def whom(self, decision: Decision) -> SafeString:
        return customer_link(decision.customer)

    @admin.display(description=_("service"))
    def level(self, decision: Decision) -> SafeString:
        return badge(PriorityLevel(decision.priority).label, words.PRIORITY_TONES[decision.priority])

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_decision")
        rows = Decision.objects.select_related("customer", "offer", "campaign", "policy", "snapshot")
        decision = get_object_or_404(rows, pk=object_id)
        return self.page(
            request,
            "tierwise/one_decision.html",
            title=decision.customer.reference,
            customer=decision.customer,
            page=DecisionPage(decision),
        )
