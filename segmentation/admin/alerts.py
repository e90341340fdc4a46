"""What staff should look at."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from segmentation.admin.base import ReadOnlyAdmin, badge
from segmentation.models import Alert, AuditEntry

TONES = {Alert.Severity.INFO: "info", Alert.Severity.WARNING: "warn", Alert.Severity.ERROR: "bad"}


class OpenFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("yes", str(_("Open"))), ("no", str(_("Resolved")))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() is None:
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() == "yes")


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("severity_badge", "message", "raised_at", "resolved_at")
    list_display_links = ("message",)
    list_filter = (OpenFilter, ("severity", ChoicesCheckboxFilter))
    ordering = ("-id",)
    actions = ("resolve",)
    list_disable_select_all = False

    @admin.display(description=_("severity"), ordering="severity")
    def severity_badge(self, alert: Alert) -> SafeString:
        return badge(alert.get_severity_display(), TONES[Alert.Severity(alert.severity)])

    @admin.action(description=_("Mark as resolved"), permissions=["resolve"])
    def resolve(self, request: HttpRequest, queryset: QuerySet) -> None:
        open_alerts = list(queryset.filter(resolved_at__isnull=True))
        for alert in open_alerts:
            AuditEntry.record("resolved", alert, actor=request.user, key=alert.key)
        queryset.filter(resolved_at__isnull=True).update(resolved_at=Now())
        count = len(open_alerts)
        self.message_user(
            request,
            ngettext("%(count)s alert resolved.", "%(count)s alerts resolved.", count) % {"count": count},
        )

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("segmentation.change_alert")
