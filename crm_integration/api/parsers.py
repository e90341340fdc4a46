"""Bodies from strangers: bounded, and refused where a database or another program could not take them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from django.conf import settings
from django.http.request import UnreadablePostError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser, DataAndFiles, MultiPartParser

# The header under which a request is sent again.
KEY = "Idempotency-Key"


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = gettext_lazy("The body is larger than this installation takes.")
    default_code = "too_large"


class JsonParser(BaseParser):
    """An object of at most INBOUND_MAX_BYTES. Depth, NaN, huge numbers and lone surrogates are refused with 400.

    The bytes are left on the view as `raw_body`: they are what is stored, and what an Idempotency-Key stands for.
    """

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        raw = _read(stream)
        if parser_context is not None:
            parser_context["view"].raw_body = raw
        return load(raw)


def load(raw: bytes) -> dict[str, Any]:
    """The object in `raw`. Raises ParseError, which never repeats what was sent."""
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ParseError(
            _("The body is not JSON that can be read (line %(line)d, column %(column)d).")
            % {"line": error.lineno, "column": error.colno}
        ) from error
    if not isinstance(content, dict):
        raise ParseError(_("The body must be a JSON object: {...}."))
    return content


def _read(stream: Any) -> bytes:
    most = settings.INBOUND_MAX_BYTES
    try:
        raw: bytes = stream.read(most + 1)
    except UnreadablePostError as error:
        raise ParseError(_("The body broke off.")) from error
    if len(raw) > most:
        raise TooLarge
    return raw


class FileParser(MultiPartParser):
    """A form with files, as large as the server takes. What an Idempotency-Key stands for (`raw_body`) is its fields and the
    hash of each file."""

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles:
        try:
            found: DataAndFiles = super().parse(stream, media_type, parser_context)
        except UnreadablePostError as error:
            raise ParseError(_("The body broke off.")) from error
        if parser_context is not None:
            has_key = bool(parser_context["request"].headers.get(KEY))
            parser_context["view"].raw_body = _fingerprint(found, with_files=has_key)
        return found


def _fingerprint(form: DataAndFiles, *, with_files: bool) -> bytes:
    """with_files: large ones are only read where it counts."""
    files = [
        [name, file.name, _digest(file) if with_files else ""]
        for name, given in sorted(form.files.lists())
        for file in given
    ]
    try:
        return orjson.dumps([sorted(form.data.lists()), files])
    except orjson.JSONEncodeError as error:
        raise ParseError(_("The form holds text that is not Unicode.")) from error


def _digest(file: Any) -> str:
    found = hashlib.sha256()
    for chunk in file.chunks():
        found.update(chunk)
    return found.hexdigest()
