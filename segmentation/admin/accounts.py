"""People who may sign in, and their roles."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from segmentation.access import second_factor
from segmentation.admin.base import View, post_only
from segmentation.admin.shown import ShownAdmin, ShownForm
from segmentation.models import AuditEntry

admin.site.unregister(User)
admin.site.unregister(Group)


class PersonForm(ShownForm, UserChangeForm):
    """An account as its page shows it."""


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ShownAdmin):  # type: ignore[misc]  # the theme comes first in the order
    form = PersonForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "first_name", "last_name", "is_active", "is_superuser", "has_second_factor")
    list_filter = ("is_active", "is_superuser", "groups")
    list_select_related = ("second_factor",)
    change_form_outer_before_template = "tierwise/person_buttons.html"
    actions = None

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/second-factor/drop/", self.drop_factor_view, "drop_factor")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).select_related("second_factor")

    @admin.display(description=_("second step"), boolean=True)
    def has_second_factor(self, user: User) -> bool:
        return second_factor.of(user) is not None

    # Who looks after people does not become, or take over, an account that may do more than they may.
    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Whoever has done something stays known in the audit: such an account is switched off instead."""
        if obj is not None and AuditEntry.objects.filter(actor=obj).exists():
            return False
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        # Signing in writes it.
        fixed = (*super().get_readonly_fields(request, obj), "last_login")
        return fixed if _is_superuser(request) else (*fixed, "is_superuser", "user_permissions")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        person = self.get_object(request, object_id) if object_id else None
        may_drop = (
            person is not None
            and person != request.user
            and second_factor.of(person) is not None
            and self.has_change_permission(request, person)
        )
        context = {**(extra_context or {}), "may_drop_factor": may_drop}
        return super().changeform_view(request, object_id, form_url, context)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        person = self.get_object(request, id)
        before = person.password if person is not None else ""
        answer = super().user_change_password(request, id, form_url)
        user = self.get_object(request, id)
        if user is not None and user.password != before:
            AuditEntry.record("password.set", user, actor=request.user)
        return answer

    @post_only("auth.change_user")
    def drop_factor_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """For somebody else whose telephone is lost: one's own takes a code, an open session is not enough."""
        user = get_object_or_404(User, pk=pk)
        if user == request.user:
            raise PermissionDenied
        if not self.has_change_permission(request, user):
            self.refuse(request, _t("Only a superuser may do this to a superuser."))
        elif second_factor.drop(user, by=request.user):
            messages.success(request, _t("The second step is off; it is set up anew by the person."))
        return self.back_to(user)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


def _may_touch(request: HttpRequest, obj: User | None) -> bool:
    return obj is None or not obj.is_superuser or _is_superuser(request)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ShownAdmin):  # type: ignore[misc]
    form = ShownForm
    list_display = ("role",)

    @admin.display(description=_("role"), ordering="name")
    def role(self, group: Group) -> str:
        return _t(group.name)
