"""What is typed to come in. Each try is counted before it is looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.forms import AuthenticationForm
from unfold.widgets import INPUT_CLASSES

from segmentation import crypto
from segmentation.access import second_factor, throttle
from segmentation.models import AuditEntry

DEVICE_DAYS = 180
_DEVICE_SALT = "tierwise.known-device"


class SignInForm(AuthenticationForm):
    """Name and password."""

    wait_seconds = 0

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if not name or not self.cleaned_data.get("password"):
            cleaned: dict[str, Any] = super().clean()
            return cleaned
        user = User.objects.filter(username=name).first()
        who = throttle.caller(self.request, name, device=known_device(self.request, user))
        turn = throttle.take_turn(who, now=timezone.now())
        if turn.wait_seconds:
            self.wait_seconds = turn.wait_seconds
            raise waiting(turn.wait_seconds)
        try:
            cleaned = super().clean()
        except ValidationError:
            note_failure(user, who, turn)
            raise
        throttle.give_back(who)
        return cleaned


class CodeForm(forms.Form):
    """A code of the app, or a recovery code."""

    code = forms.CharField(
        label=_("Code"),
        max_length=40,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autofocus": True,
                "autocapitalize": "none",
                "spellcheck": "false",
                "class": " ".join(INPUT_CLASSES),
            }
        ),
    )
    wait_seconds = 0
    opened_by = ""

    def __init__(self, request: HttpRequest, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request, self.user = request, user

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        now: datetime = timezone.now()
        name = self.user.get_username()
        # A count of its own: only who knows the password gets here. Devices share one until they have shown this factor.
        device = known_device(self.request, self.user, factor=second_factor.stamp(self.user))
        who = throttle.caller(self.request, name, device=f"code:{device}")
        turn = throttle.take_turn(who, now=now)
        if turn.wait_seconds:
            self.wait_seconds = turn.wait_seconds
            raise waiting(turn.wait_seconds)
        self.opened_by = second_factor.verify(self.user, code, now=now)
        if not self.opened_by:
            note_failure(self.user, who, turn)
            raise ValidationError(
                _(
                    "This code is wrong, or was used before. Wait for the app's next code, or use a recovery code."
                )
            )
        throttle.give_back(who)
        return code


def waiting(seconds: int) -> ValidationError:
    minutes = max(1, -(-seconds // 60))
    said = ngettext(
        "Too many wrong tries. Wait %(minutes)d minute, then try again. Whoever runs this installation can end the wait.",
        "Too many wrong tries. Wait %(minutes)d minutes, then try again. Whoever runs this installation can end the wait.",
        minutes,
    )
    return ValidationError(said % {"minutes": minutes}, code="throttled")


def note_failure(user: Any, who: throttle.Caller, turn: throttle.Turn) -> None:
    """For the audit: an id and a pseudonym of the place, neither the name typed nor the address."""
    place = who.address[:12]
    if user is not None:
        AuditEntry.record("sign_in.failed", user, place=place)
    if turn.begins_wait:
        AuditEntry.record("sign_in.throttled", user, place=place)


def known_device(request: HttpRequest, user: Any, *, factor: str = "") -> str:
    """What a device that signed in with this very password (and this factor) says about itself, else nothing.

    Whoever knew an earlier password, or the password alone, could otherwise gather devices, each with tries of its own.
    """
    if user is None:
        return ""
    account = throttle.caller(request, user.get_username()).account
    try:
        said = signing.loads(
            request.COOKIES.get(_cookie(account), ""), salt=_DEVICE_SALT, max_age=DEVICE_DAYS * 86_400
        )
    except signing.BadSignature:
        return ""
    proven = {"account": account, "password": _of_password(user)} | ({"factor": factor} if factor else {})
    return str(said["device"]) if proven.items() <= said.items() else ""


def remember_device(request: HttpRequest, answer: HttpResponse, user: Any, *, device: str) -> None:
    """Wrong tries of strangers then hold this device up no more."""
    account = throttle.caller(request, user.get_username()).account
    answer.set_cookie(
        _cookie(account),
        signing.dumps(
            {
                "account": account,
                "device": device,
                "password": _of_password(user),
                "factor": second_factor.stamp(user),
            },
            salt=_DEVICE_SALT,
        ),
        max_age=DEVICE_DAYS * 86_400,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure(),
    )


def _of_password(user: Any) -> str:
    return crypto.pseudonym("known device", user.password)[:16]


def _cookie(account: str) -> str:
    return f"tw_known_{account[:12]}"
