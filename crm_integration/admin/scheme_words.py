"""What the scheme tester found, in sentences that say what to do. None of them holds a secret."""

from __future__ import annotations

from collections.abc import Callable

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm_integration.scheme_tester import Cause, Finding
from segmentation.dashboard.words import Text

DAY = 86_400
# How a variant is called inside crm_integration/scheme_tester/variants.py, as staff read it.
HOW: dict[str, Text] = {
    "with a newline at its end": gettext_lazy("with a newline at its end"),
    "with a Windows newline at its end": gettext_lazy("with a Windows newline at its end"),
    "with a space at its end": gettext_lazy("with a space at its end"),
    "with a space before it": gettext_lazy("with a space before it"),
    "in quotes": gettext_lazy("in quotes"),
    "as text, without whsec_": gettext_lazy(
        "as text without whsec_, instead of the bytes that its base64 writes"
    ),
    "as text, with whsec_": gettext_lazy(
        "as text together with whsec_, instead of the bytes that its base64 writes"
    ),
    "written in base64": gettext_lazy("written in base64 once more"),
    "as the bytes that its base64 writes": gettext_lazy(
        "as the bytes that its base64 writes, instead of its text"
    ),
    "as the bytes that its hex writes": gettext_lazy("as the bytes that its hex writes, instead of its text"),
    "without the white space at its end": gettext_lazy("without the white space at its end"),
    "with Windows newlines": gettext_lazy("with Windows newlines"),
    "with plain newlines": gettext_lazy("with plain newlines"),
    "with a byte order mark": gettext_lazy("with a byte order mark before it"),
    "without its byte order mark": gettext_lazy("without the byte order mark before it"),
    "empty": gettext_lazy("while it was empty"),
    "in Latin-1 instead of UTF-8": gettext_lazy("in Latin-1 instead of UTF-8"),
    "in UTF-8 instead of Latin-1": gettext_lazy("in UTF-8 instead of Latin-1"),
    "in Windows-1252 instead of UTF-8": gettext_lazy("in Windows-1252 instead of UTF-8"),
    "of its first event alone": gettext_lazy("as its first event alone, as Segment's older header does"),
    "written again without spaces": gettext_lazy("as JSON written again without spaces"),
    "written again without spaces, letters escaped": gettext_lazy(
        "as JSON written again without spaces and with letters escaped"
    ),
    "written again without spaces, keys sorted": gettext_lazy(
        "as JSON written again without spaces and with its keys sorted"
    ),
    "written again with spaces after , and :": gettext_lazy(
        "as JSON written again with spaces after , and :"
    ),
    "written again with spaces after , and :, letters escaped": gettext_lazy(
        "as JSON written again with spaces after , and : and with letters escaped"
    ),
    "written again with spaces after , and :, keys sorted": gettext_lazy(
        "as JSON written again with spaces after , and : and with its keys sorted"
    ),
    "written again indented by two": gettext_lazy("as JSON written again and indented by two"),
    "written again indented by four": gettext_lazy("as JSON written again and indented by four"),
    "written again as PHP does, with \\/": gettext_lazy("as JSON written again the way PHP does, with \\/"),
    "in seconds": gettext_lazy("in seconds, while the header has milliseconds"),
    "in milliseconds": gettext_lazy("in milliseconds, while the header has seconds"),
    "with http://": gettext_lazy("with http://"),
    "with https://": gettext_lazy("with https://"),
    "without its query": gettext_lazy("without its query"),
    "without the slash at its end": gettext_lazy("without the slash at its end"),
    "with a slash at its end": gettext_lazy("with a slash at its end"),
    "without a port": gettext_lazy("without a port"),
    "as its path alone": gettext_lazy("as its path alone"),
}


def sentence(finding: Finding) -> str:
    return str(_SENTENCES[finding.cause](finding))


def tone(finding: Finding) -> str:
    return "good" if finding.cause is Cause.FITS else "bad"


def _how(finding: Finding) -> str:
    said = str(finding.told["how"])
    if said in HOW:
        return str(HOW[said])
    if said.startswith("of the header "):
        return _("from the header %(header)s") % {"header": said.removeprefix("of the header ")}
    host = said.rpartition(" ")[2]
    if said.startswith("with http"):
        start = said.partition(" ")[2].partition(" ")[0]
        return _("with %(start)s and the host %(host)s") % {"start": start, "host": host}
    return _("with the host %(host)s") % {"host": host}


def _with_how(text: Text) -> Callable[[Finding], str]:
    return lambda finding: str(text) % {"how": _how(finding)}


def _plain(text: Text) -> Callable[[Finding], str]:
    return lambda finding: str(text) % dict(finding.told) if finding.told else str(text)


def _late(text: Text) -> Callable[[Finding], str]:
    return lambda finding: (
        str(text)
        % {
            "off": span(int(str(finding.told["seconds"]))),
            "window": span(int(str(finding.told["window"]))),
        }
    )


def span(seconds: int) -> str:
    """“5 min”, “3 h 20 min”, “12 days”."""
    if seconds < 60:
        return _("%(count)d s") % {"count": seconds}
    if seconds < 3600:
        return _("%(count)d min") % {"count": seconds // 60}
    if seconds < 2 * DAY:
        return _("%(hours)d h %(minutes)d min") % {"hours": seconds // 3600, "minutes": seconds % 3600 // 60}
    return _("%(count)d days") % {"count": seconds // DAY}


_SENTENCES: dict[Cause, Callable[[Finding], str]] = {
    Cause.FITS: _plain(gettext_lazy("The signature fits: the door takes this message.")),
    Cause.NOT_SET_UP: _plain(
        gettext_lazy("It is not set up yet how this sender signs; enter it on the connection's page.")
    ),
    Cause.NO_SECRET: _plain(gettext_lazy("No signing secret is set here. Enter or create one first.")),
    Cause.MISSING_HEADER: _plain(
        gettext_lazy("The header %(header)s is missing. Without it nothing can be checked.")
    ),
    Cause.LOOKS_LIKE: _plain(
        gettext_lazy("These headers are those of %(kind)s. Was the message sent to the wrong connection?")
    ),
    Cause.WRONG_HEADER: _plain(
        gettext_lazy("The right signature is in the header %(found)s; it must be in %(expected)s.")
    ),
    Cause.SECRET_MISREAD: _with_how(
        gettext_lazy(
            "The sender uses the right secret %(how)s. Copy it whole, and nothing around it, into the sender."
        )
    ),
    Cause.SECRET_OF_OTHER: _plain(
        gettext_lazy(
            "It was signed with the secret of the connection “%(name)s”. Use this connection's own, or its address."
        )
    ),
    Cause.SECRET_EXPIRED: _plain(
        gettext_lazy(
            "It was signed with the previous secret, whose day of grace is over. Give the sender the new one."
        )
    ),
    Cause.SECRET_TYPED: _plain(
        gettext_lazy(
            "It was signed with the secret that you typed, which is not the one stored here. Store that one."
        )
    ),
    Cause.ENCODING: _plain(
        gettext_lazy("The signature is right but written in %(found)s; it must be written in %(expected)s.")
    ),
    Cause.ALGORITHM: _plain(gettext_lazy("It was signed with %(found)s; it must be %(expected)s.")),
    Cause.PLAIN_HASH: _plain(
        gettext_lazy(
            "It is no HMAC but a plain hash of %(base)s, which is not safe. Use the newer way of the sender."
        )
    ),
    Cause.BODY_CHANGED: _with_how(
        gettext_lazy(
            "The body was signed %(how)s. Sign exactly the bytes that are sent, and let nothing rewrite them."
        )
    ),
    Cause.BASE: _plain(gettext_lazy("What was signed is %(found)s; it must be %(expected)s.")),
    Cause.URL: _with_how(
        gettext_lazy(
            "The address was signed %(how)s. Enter it in the CRM exactly as it stands here; a proxy may have changed it."
        )
    ),
    Cause.TIME_VALUE: _with_how(
        gettext_lazy("The time was signed %(how)s. The signed text and the header must hold the same.")
    ),
    Cause.ID_VALUE: _with_how(
        gettext_lazy("The id was taken %(how)s. The signed text and the header must hold the same.")
    ),
    Cause.WRAPPING: _plain(gettext_lazy("The signature is right but its header must read %(expected)s.")),
    Cause.TOO_OLD: _late(
        gettext_lazy(
            "It was signed %(off)s before the time of arrival given here; %(window)s are allowed. If that was its real time "
            "of arrival, it was a repetition or the sender's clock is slow."
        )
    ),
    Cause.TOO_NEW: _late(
        gettext_lazy(
            "It was signed %(off)s after its arrival; %(window)s are allowed. The sender's clock is fast."
        )
    ),
    Cause.BAD_TIME: _plain(gettext_lazy("The time is not a whole number of seconds since 1970.")),
    Cause.MILLISECONDS: _plain(gettext_lazy("The time is in milliseconds; it must be in seconds.")),
    Cause.BAD_ID: _plain(gettext_lazy("The message's id is too long or holds unusual characters.")),
    Cause.NOT_A_SIGNATURE: _plain(
        gettext_lazy(
            "What stands in the header %(header)s is no signature: neither hex nor base64 of the right length."
        )
    ),
    Cause.UNKNOWN: _plain(
        gettext_lazy(
            "None of the usual mistakes makes this signature. Most likely the sender uses another secret; compare it, or "
            "set the same one on both sides. Otherwise the body was changed on its way."
        )
    ),
}
