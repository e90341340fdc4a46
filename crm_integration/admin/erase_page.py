"""The page on which staff erase everybody who came from a shop that asked for it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from crm_integration import shop_erasures
from crm_integration.adapters import registry
from crm_integration.models import Connection
from segmentation.admin.base import View, requires
from segmentation.admin.privacy import DOOR, ERASE, EraseForm, to_page


class EraseShopForm(EraseForm):
    reference = forms.CharField(
        label=_("Type the connection's short name to confirm"), widget=UnfoldAdminTextInputWidget
    )
    wrong = _("This is not the short name of this connection.")


class ErasePage:
    """Mixed into ConnectionAdmin."""

    def erase_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/erase/", self.erase_view, "erase")]

    def erase_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        """What goes and who stays, and the typed name; POST queues the erasure."""
        requires(request, ERASE)
        connection = get_object_or_404(Connection, pk=pk, adapter__in=registry.ADAPTERS)
        if not shop_erasures.asked(connection).exists():
            raise Http404
        form = EraseShopForm(request.POST or None, expected=connection.slug)
        if request.method == "POST" and form.is_valid():
            row = shop_erasures.start(
                connection, actor=request.user, reason=form.cleaned_data["reason"], source=DOOR
            )
            messages.info(
                request, _t("The shop's customers are being erased; this page shows how far it is.")
            )
            return to_page(row)
        return self.page(
            request,
            "crm_integration/erase_shop.html",
            title=_t("Erase the customers of “%(connection)s”?") % {"connection": connection.name},
            object=connection,
            connection=connection,
            form=form,
        )
