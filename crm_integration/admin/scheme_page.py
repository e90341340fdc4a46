"""The scheme tester's page: headers and body in, the reason out. Nothing of it is stored or logged."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from crm_integration import connections, scheme_tester
from crm_integration.adapters import registry
from crm_integration.adapters.base import Delivery
from crm_integration.admin import scheme_words, words
from crm_integration.connections import Door
from crm_integration.models import Connection, RefusedDelivery
from crm_integration.scheme_tester import Diagnosis, Owner, Secret
from segmentation.admin.base import View, requires
from segmentation.models import AuditEntry

CHANGE = "crm_integration.change_connection"
OTHERS_TRIED = 20
REFUSED_SHOWN = 10


class SchemeForm(forms.Form):
    headers = forms.CharField(
        label=_("Headers"),
        help_text=_("A line each, as “Name: value”; lines of curl are fine too."),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 7, "spellcheck": "false"}),
    )
    body = forms.CharField(
        label=_("Body"),
        required=False,
        strip=False,
        help_text=_(
            "Exactly as it was sent. If in doubt, send it as a file: a browser may change line ends."
        ),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 7, "spellcheck": "false"}),
    )
    body_file = forms.FileField(label=_("Or the body as a file"), required=False)
    arrived_at = forms.DateTimeField(
        label=_("When it arrived"),
        required=False,
        help_text=_("Empty: now. By the shop's clock."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "step": "1"}),
    )
    url = forms.CharField(
        label=_("Address it was sent to"),
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Counts only where the address is signed, as by HubSpot."),
    )
    secret = forms.CharField(
        label=_("A secret to try as well"),
        required=False,
        strip=False,
        max_length=300,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text=_("Such as the one that the CRM shows. It is neither stored nor shown."),
    )

    def clean_headers(self) -> dict[str, bytes]:
        try:
            found = scheme_tester.read_headers(self.cleaned_data["headers"])
        except scheme_tester.TooMuch as error:
            raise ValidationError(_t("These are more headers than a request has.")) from error
        if not found:
            raise ValidationError(_t("No header was found. Write a line each, such as X-Signature: abc."))
        return found

    def clean(self) -> dict[str, Any]:
        """`body`: the bytes. Browsers send every line end of a field as two characters; the file is exact."""
        cleaned: dict[str, Any] = super().clean() or {}
        given = cleaned.get("body_file")
        if given is not None and given.size > settings.INBOUND_MAX_BYTES:
            self.add_error("body_file", _t("The body is larger than this installation takes."))
            return cleaned
        text = cleaned.get("body", "").replace("\r\n", "\n").encode("utf-8", "surrogatepass")
        cleaned["body"] = given.read() if given is not None else text
        if len(cleaned["body"]) > settings.INBOUND_MAX_BYTES:
            self.add_error("body", _t("The body is larger than this installation takes."))
        return cleaned


class SchemePage:
    """Mixed into the admin of connections."""

    def scheme_urls(self) -> list[tuple[str, View, str]]:
        return [("<int:pk>/tester/", never_cache(self.tester_view), "tester")]

    def tester_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, CHANGE)
        connection = get_object_or_404(Connection, pk=pk)
        if connection.adapter not in registry.ADAPTERS:
            self.refuse(
                request,
                _t("This version does not know the kind of this connection, so nothing can be tried."),
            )
            return self.back_to(connection)
        chosen = _chosen(request, connection)
        form = SchemeForm(
            request.POST or None,
            request.FILES or None,
            initial={
                "url": connections.hook_url(connection),
                "headers": "".join(f"{name}: \n" for name in chosen.header_names) if chosen else "",
            },
        )
        found = None
        if request.method == "POST" and form.is_valid():
            found = test(connection, form.cleaned_data)
            said = sorted({finding.cause.value for finding in found.findings})
            AuditEntry.record("connection.scheme_tested", connection, actor=request.user, found=said)
        return self.page(
            request,
            "crm_integration/tester.html",
            title=_t("Why is a signature refused? %(connection)s") % {"connection": connection.name},
            object=connection,
            connection=connection,
            form=form,
            found=found,
            findings=[(scheme_words.tone(one), scheme_words.sentence(one)) for one in found.findings]
            if found
            else (),
            refused=[(row, words.reason(row.reason)) for row in _refused(connection)],
            chosen=chosen,
            why=words.reason(chosen.reason) if chosen else "",
        )


def test(connection: Connection, told: dict[str, Any]) -> Diagnosis:
    """What is wrong with a pasted delivery; every secret stays inside."""
    arrived: datetime = told["arrived_at"] or timezone.now()
    delivery = Delivery(told["body"], told["headers"], told["url"], connection.options)
    return scheme_tester.diagnose(
        registry.get(connection.adapter),
        delivery,
        secrets=list(_secrets(connection, typed=told["secret"], now=timezone.now())),
        now=int(arrived.timestamp()),
        kinds={str(kind.label): kind.scheme for kind in registry.KNOWN if kind.scheme is not None},
    )


def _secrets(connection: Connection, *, typed: str, now: datetime) -> list[Secret]:
    valid = connections.valid_secrets(connection, Door.INBOUND, now=now)
    current, previous = connection.inbound_secret.split(), connection.inbound_secret_previous.split()
    known = [Secret(Owner.CURRENT if secret in current else Owner.PREVIOUS, secret) for secret in valid]
    known += [Secret(Owner.EXPIRED, secret) for secret in previous if secret not in valid]
    known += [Secret(Owner.TYPED, one) for one in typed.split()]
    others = Connection.objects.exclude(pk=connection.pk).order_by("pk")[:OTHERS_TRIED]
    return known + [
        Secret(Owner.OTHER, secret, other.name)
        for other in others
        for secret in (*other.inbound_secret.split(), *other.outbound_secret.split())
    ]


def _refused(connection: Connection) -> list[RefusedDelivery]:
    rows = RefusedDelivery.objects.filter(connection=connection).exclude(header_names=[])
    return list(rows.order_by("-last_at")[:REFUSED_SHOWN])


def _chosen(request: HttpRequest, connection: Connection) -> RefusedDelivery | None:
    number = request.GET.get("refused", "")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    return RefusedDelivery.objects.filter(connection=connection, pk=int(number)).first()
