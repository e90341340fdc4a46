"""Any system that signs with an HMAC: staff say which header, algorithm and content; the body is the generic format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from crm_integration import signatures
from crm_integration.adapters import standard_message
from crm_integration.adapters.base import Adapter, Delivery, Parsed, digest
from crm_integration.adapters.needs import Field, Need
from crm_integration.adapters.reading import BadField
from crm_integration.schemes import Scheme
from crm_integration.signatures import BadSignature, Reason

HEADER = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
PLACEHOLDER = re.compile(r"\{(body|timestamp|id)\}")
MESSAGE_ID = re.compile(rb"[!-~]{1,100}")
MAX_TOLERANCE = 3600


class HmacAdapter(Adapter):
    slug = "hmac"
    label = _("Signed webhook (HMAC, you say how)")
    uses_shop_ids = True
    reads_envelopes = True
    needs = (
        Need(
            "header",
            _("Header with the signature"),
            _("Such as X-Signature"),
            required=True,
            default="X-Signature",
            pattern=HEADER,
        ),
        Need(
            "algorithm",
            _("Algorithm"),
            field=Field.CHOICE,
            choices=("sha256", "sha512", "sha1"),
            required=True,
            default="sha256",
        ),
        Need(
            "encoding",
            _("Written in"),
            field=Field.CHOICE,
            choices=signatures.ENCODINGS,
            required=True,
            default="hex",
        ),
        Need(
            "prefix",
            _("Text before the signature"),
            _("Such as sha256= ; often empty"),
            pattern=r"[!-~]{0,20}",
        ),
        Need(
            "base",
            _("What is signed"),
            _("{body}, with {timestamp} and {id} where they are signed too, such as {timestamp}.{body}"),
            required=True,
            default="{body}",
            most=80,
        ),
        Need(
            "timestamp_header",
            _("Header with the time"),
            _("Seconds or milliseconds since 1970"),
            pattern=HEADER,
        ),
        Need("id_header", _("Header with the message's id"), pattern=HEADER),
        Need(
            "tolerance",
            _("Seconds a message may be late"),
            field=Field.NUMBER,
            default=str(signatures.TOLERANCE_SECONDS),
            least=1,
            most=MAX_TOLERANCE,
        ),
    )
    blurb = _("A system of your own, or one that is not listed: you say which header and what is signed.")
    example = standard_message.EXAMPLE
    steps = (
        _("How the sender signs is entered here; its documentation says so."),
        _("Messages are in the generic format of docs/webhooks.md."),
        _(
            "Without a signed time, a message that somebody caught can be sent again: it then changes nothing."
        ),
    )

    def scheme_of(self, options: Mapping[str, Any]) -> Scheme | None:
        if not options.get("header"):
            return None
        return Scheme(
            str(options["header"]).lower(),
            algorithm=str(options["algorithm"]),
            encoding=str(options["encoding"]),
            base=str(options["base"]),
            wrapping=str(options.get("prefix", "")) + "{signature}",
            id_header=str(options.get("id_header", "")).lower(),
            timestamp_header=str(options.get("timestamp_header", "")).lower(),
            window=min(int(options.get("tolerance") or signatures.TOLERANCE_SECONDS), MAX_TOLERANCE),
        )

    def clean_options(self, options: dict[str, Any]) -> dict[str, Any]:
        base = str(options.get("base", ""))
        names = PLACEHOLDER.findall(base)
        rest = PLACEHOLDER.sub("", base)
        if names.count("body") != 1 or len(names) != len(set(names)) or "{" in rest or "}" in rest:
            raise BadField(
                _t("“What is signed” must hold {body} once and may hold {timestamp} and {id}, each once.")
            )
        if not all("\x20" <= letter <= "~" for letter in rest):
            raise BadField(_t("“What is signed” may only hold plain characters."))
        for name in ("timestamp", "id"):
            if (name in names) != bool(options.get(f"{name}_header")):
                raise BadField(
                    _t("Give the header of {%(name)s} exactly when {%(name)s} is signed.") % {"name": name}
                )
        return options

    def verify(self, delivery: Delivery, *, secrets: Sequence[str], now: int) -> None:
        options = delivery.options
        if not options.get("header"):
            raise BadSignature(Reason.NOT_CONFIGURED)
        if not secrets:
            raise BadSignature(Reason.NO_SECRET)
        given = delivery.headers.get(str(options["header"]).lower(), b"")
        if not given:
            raise BadSignature(Reason.MISSING_HEADERS)
        content = _content(delivery)
        if "timestamp" in PLACEHOLDER.findall(str(options["base"])):
            moment = signatures.read_timestamp(_told(delivery, "timestamp"))
            tolerance = int(options.get("tolerance") or signatures.TOLERANCE_SECONDS)
            signatures.check_time(moment, now=now, tolerance=min(tolerance, MAX_TOLERANCE))
        prefix = str(options.get("prefix", "")).encode()
        if not given.startswith(prefix):
            raise BadSignature(Reason.WRONG_SIGNATURE)
        signatures.verify_mac(
            [given[len(prefix) :]],
            content,
            secrets=secrets,
            algorithm=str(options["algorithm"]),
            encoding=str(options["encoding"]),
        )

    def dedupe_key(self, delivery: Delivery) -> str:
        """The id where it is signed; else nothing but the body is known to be the sender's."""
        if "id" in PLACEHOLDER.findall(str(delivery.options["base"])):
            return _told(delivery, "id").decode("ascii")
        return digest(delivery.body)

    def parse(self, body: bytes, *, message_key: str, topic: str = "") -> Parsed:
        return standard_message.parse(body, message_key=message_key)


def _told(delivery: Delivery, name: str) -> bytes:
    value = delivery.headers.get(str(delivery.options.get(f"{name}_header", "")).lower(), b"")
    if not value:
        raise BadSignature(Reason.MISSING_HEADERS)
    if name == "id" and not MESSAGE_ID.fullmatch(value):
        raise BadSignature(Reason.BAD_MESSAGE_ID)
    return value


def _content(delivery: Delivery) -> bytes:
    """The signed bytes, put together without ever reading the body as text."""
    parts = PLACEHOLDER.split(str(delivery.options["base"]))
    found = []
    for number, part in enumerate(parts):
        if number % 2 == 0:
            found.append(part.encode())
        else:
            found.append(delivery.body if part == "body" else _told(delivery, part))
    return b"".join(found)
