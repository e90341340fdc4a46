"""Who did what; read only, and searched by indexes alone (entries are never deleted)."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter, RelatedDropdownFilter

from segmentation.admin.base import HouseChangeList, ReadOnlyAdmin
from segmentation.dashboard import audit_words, words
from segmentation.models import AuditEntry

DETAIL_CHARS = 200


class ActionFilter(DropdownFilter):
    title = _("what")
    parameter_name = "did"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return sorted(audit_words.ACTIONS.items(), key=lambda item: str(item[1]))

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(action=self.value()) if self.value() else queryset


class SinceFilter(DropdownFilter):
    """Entries are numbered as they are written: the first of the period bounds the rest by the primary key."""

    title = _("when")
    parameter_name = "since"
    DAYS = {"1": _("Today"), "7": _("Last 7 days"), "30": _("Last 30 days"), "365": _("Last year")}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(self.DAYS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in self.DAYS:
            return queryset
        midnight = timezone.make_aware(datetime.combine(timezone.localdate(), time()))
        return queryset.filter(at__gte=midnight - timedelta(days=int(self.value()) - 1))


class AuditList(HouseChangeList):
    """The page's entries know what their things are called."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        entries = list(self.result_list)
        names = audit_words.names((entry.object_type, entry.object_id) for entry in entries)
        for entry in entries:
            entry.named = names.get((entry.object_type, entry.object_id), entry.object_id)
        self.result_list = entries


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("when", "actor", "what", "on_what", "details")
    list_display_links = None
    list_select_related = ("actor",)
    list_filter = (("actor", RelatedDropdownFilter), ActionFilter, SinceFilter)
    # Said here so that the page has a search; what it finds is get_search_results.
    search_fields = ("object_id",)
    search_help_text = _(
        "The id of a thing, a person's name for signing in, or an action such as campaign.moved"
    )
    sortable_by = ("when",)
    ordering = ("-id",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AuditList]:
        return AuditList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """Exact, as written: an index answers each."""
        term = search_term.strip()
        if not term:
            return queryset, False
        person = User.objects.filter(username__iexact=term).values_list("pk", flat=True).first()
        found = Q(object_id=term) | Q(action=term.casefold()) | Q(object_type=term.casefold())
        if person is not None:
            found |= Q(actor=person) | Q(object_type="auth.user", object_id=str(person))
        return queryset.filter(found), False

    @admin.display(description=_("when"), ordering="id")
    def when(self, entry: AuditEntry) -> SafeString:
        return format_html('<span class="tw-nowrap">{}</span>', words.moment(entry.at))

    @admin.display(description=_("what"))
    def what(self, entry: AuditEntry) -> words.Text:
        return audit_words.action(entry.action)

    @admin.display(description=_("on"))
    def on_what(self, entry: AuditEntry) -> SafeString | str:
        """Linked where the thing has a page that this person may open."""
        if not entry.object_type:
            return words.NOTHING
        said = f"{audit_words.thing(entry.object_type)} {getattr(entry, 'named', entry.object_id)}"
        address = self._page_of(entry)
        return format_html('<a class="tw-link" href="{}">{}</a>', address, said) if address else said

    def _page_of(self, entry: AuditEntry) -> str:
        model = audit_words.model_of(entry.object_type)
        if model is None or model not in self.admin_site._registry or entry.action == "deleted":
            return ""
        try:
            return reverse(f"admin:{entry.object_type.replace('.', '_')}_change", args=[entry.object_id])
        except NoReverseMatch:
            return ""

    @admin.display(description=_("details"))
    def details(self, entry: AuditEntry) -> SafeString:
        """“Priority: 1 → 2”; what is long is cut, and whole in the tooltip."""
        said = " · ".join(audit_words.details(entry.object_type, entry.detail))
        shown = Truncator(said).chars(DETAIL_CHARS)
        return format_html(
            '<span class="tw-label tw-anywhere" title="{}">{}</span>', said if shown != said else "", shown
        )
