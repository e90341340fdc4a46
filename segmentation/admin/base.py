"""What every page of the console shares: light lists, audited writes, buttons that are POSTs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ORDER_VAR
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.forms.models import BaseModelForm
from django.http import Http404, HttpRequest, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextareaWidget

from segmentation import audit_values
from segmentation.admin.pagination import BoundedPaginator
from segmentation.dashboard import words
from segmentation.models import AuditEntry, Shop

View = Callable[..., HttpResponseBase]
# Lists of customers that leave the console as files.
EXPORT = "segmentation.export_customer_list"


def badge(text: words.Text, tone: str = "plain") -> SafeString:
    """A small coloured label; the words carry the meaning, the colour only helps."""
    return format_html('<span class="tw-badge tw-{}">{}</span>', tone, text)


def requires(request: HttpRequest, permission: str) -> None:
    """Raises PermissionDenied (403) unless the user holds `permission`."""
    if not request.user.has_perm(permission):
        raise PermissionDenied


def post_only(permission: str) -> Callable[[View], View]:
    """A view of a ModelAdmin that changes something: POST with the CSRF token and the permission, else refused."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(self: HouseAdmin, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            requires(request, permission)
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return view(self, request, *args, **kwargs)

        return checked

    return decorate


class HouseChangeList(ChangeList):
    """Without a filter all rows are shown, so the theme need not offer to “show all”."""

    full_result_count: int | None
    leaves_out_empty = False

    def get_ordering(self, request: HttpRequest, queryset: models.QuerySet) -> list[Any]:
        """What was asked for, ties by the id in its direction: an index on both gives the first page at once.

        A filter of a large list brings an index of its own, in which its rows lie by id.
        """
        default = super().get_ordering(request, queryset)
        if not self.params.get(ORDER_VAR):
            return ["-pk"] if self.has_active_filters and self.model_admin.sorts_by_one_column else default
        asked = super().get_ordering(request, queryset.order_by())
        asked = [part for part in asked if part not in {"pk", "-pk"}]
        if self.model_admin.sorts_by_one_column:
            asked = asked[:1]
        return [*asked, "-pk" if str(asked[-1]).startswith("-") else "pk"] if asked else default

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        """A large list sorted by a column shows who has a value there: no index puts the others last everywhere."""
        rows: models.QuerySet = super().get_queryset(request, exclude_parameters)
        if not (self.model_admin.sorts_by_one_column and self.params.get(ORDER_VAR)):
            return rows
        name = str(rows.query.order_by[0]).lstrip("-")
        self.leaves_out_empty = name != "pk" and bool(self.lookup_opts.get_field(name).null)
        return rows.filter(**{f"{name}__isnull": False}) if self.leaves_out_empty else rows

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.full_result_count is None and not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class HouseAdmin(ModelAdmin):
    """Lists without full counts, and an audit entry for every write."""

    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})}}

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_fullwidth = True
    list_filter_submit = True
    compressed_fields = True
    warn_unsaved_form = True
    # A large table is sorted by an index, and an index sorts by one column.
    sorts_by_one_column = False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HouseChangeList

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        """A short name is suggested once; afterwards rules and runs refer to it."""
        return super().get_prepopulated_fields(request, obj) if obj is None else {}

    def change_view(
        self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """An address that can be no row's is not found; pages of our own look for the row by it as it stands."""
        if not self._may_be_a_key(object_id):
            raise Http404
        answer: HttpResponseBase = super().change_view(request, object_id, *args, **kwargs)
        return answer

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if from_field is None and not self._may_be_a_key(object_id):
            return None
        return super().get_object(request, object_id, from_field)

    def _may_be_a_key(self, object_id: str) -> bool:
        try:
            key = self.opts.pk.to_python(unquote(object_id))
        except ValidationError:
            return False
        return not isinstance(key, int) or abs(key) < 2**63

    def extra_urls(self) -> list[tuple[str, View, str]]:
        """(route, view, name): served under this model's address, for staff only."""
        return []

    def get_urls(self) -> list[URLPattern]:
        label = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(route, self.admin_site.admin_view(view), name=f"{label}_{name}")
            for route, view, name in self.extra_urls()
        ]
        return own + super().get_urls()

    def url(self, name: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)

    def back_to(self, obj: models.Model) -> HttpResponseRedirect:
        return HttpResponseRedirect(self.url("change", obj.pk))

    def page(
        self, request: HttpRequest, template: str, *, title: words.Text, **context: Any
    ) -> TemplateResponse:
        """A page of our own inside the console's frame."""
        request.current_app = self.admin_site.name
        full = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "shop": Shop.get(),
            **context,
        }
        return TemplateResponse(request, template, full)

    def refuse(self, request: HttpRequest, error: Exception | str) -> None:
        messages.error(request, str(error))

    def save_model(self, request: HttpRequest, obj: Any, form: BaseModelForm, change: bool) -> None:
        before = audit_values.stored(obj) if change else {}
        super().save_model(request, obj, form, change)
        detail = audit_values.difference(type(obj), before, audit_values.stored(obj))
        _with_choices(detail, obj, form)
        if detail or not change:
            AuditEntry.record("changed" if change else "created", obj, actor=request.user, **detail)

    def save_formset(self, request: HttpRequest, form: BaseModelForm, formset: Any, change: bool) -> None:
        """Rows inside the page (a campaign's rules, an offer's languages) are audited one by one, with whose they are."""
        held = [one.instance for one in formset.initial_forms if one.instance.pk]
        before = {row.pk: audit_values.stored(row) for row in held}
        super().save_formset(request, form, formset, change)
        of = {"of": f"{form.instance._meta.label_lower} {form.instance.pk}"}
        for row in formset.new_objects:
            detail = audit_values.difference(type(row), {}, audit_values.stored(row))
            AuditEntry.record("created", row, actor=request.user, **detail, **of)
        for row, _fields in formset.changed_objects:
            detail = audit_values.difference(type(row), before.get(row.pk, {}), audit_values.stored(row))
            if detail:
                AuditEntry.record("changed", row, actor=request.user, **detail, **of)
        for pk in before.keys() - {row.pk for row in held if audit_values.stored(row)}:
            _record_deleted(formset.model(pk=pk), before[pk], request, **of)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        _record_deleted(obj, audit_values.stored(obj), request)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        for obj in queryset:
            _record_deleted(obj, audit_values.stored(obj), request)
        super().delete_queryset(request, queryset)


def _with_choices(detail: dict[str, Any], obj: models.Model, form: BaseModelForm) -> None:
    """Many-to-many fields are saved after the row: what the form held before and holds now."""
    for field in obj._meta.many_to_many:
        if field.name in form.changed_data:
            detail.setdefault("fields", []).append(field.name)
            detail.setdefault("before", {})[field.name] = audit_values.chosen(form.initial.get(field.name))
            detail.setdefault("after", {})[field.name] = audit_values.chosen(form.cleaned_data[field.name])


def _record_deleted(obj: models.Model, values: dict[str, Any], request: HttpRequest, **more: Any) -> None:
    detail = audit_values.difference(type(obj), values, {})
    AuditEntry.record("deleted", obj, actor=request.user, **detail, **more)


class ReadOnlyAdmin(HouseAdmin):
    """Rows that services write; staff look at them."""

    list_disable_select_all = True
    actions: Any = None

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        raise PermissionDenied

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class WorkAdmin(ReadOnlyAdmin):
    """Rows of work that a worker does."""

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, row: Any) -> SafeString:
        return badge(row.get_state_display(), words.STATE_TONES[row.state])
