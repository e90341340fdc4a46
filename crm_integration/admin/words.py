"""Refusals and outcomes in the words staff use."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm_integration.models import InboundMessage
from crm_integration.signatures import Reason

Outcome = InboundMessage.Outcome

REASONS: dict[str, Promise] = {
    Reason.TOO_LARGE: _("The body is larger than this installation takes."),
    Reason.UNREADABLE: _("The body broke off or its length was wrong."),
    Reason.NO_SECRET: _("No signing secret is set here. Create one and give it to the sender."),
    Reason.MISSING_HEADERS: _(
        "The signature or another header that this kind needs is missing; check what the sender signs."
    ),
    Reason.BAD_MESSAGE_ID: _("The message's id is too long or holds unusual characters."),
    Reason.BAD_TIMESTAMP: _("The time of the message is not a whole number of seconds."),
    Reason.NOT_CONFIGURED: _("How this sender signs is not set up yet; enter it on the connection's page."),
    Reason.TOO_OLD: _(
        "The message was signed more than five minutes ago: a replay, or the sender's clock is slow."
    ),
    Reason.TOO_NEW: _("The message was signed in the future: the sender's clock is fast."),
    Reason.WRONG_SIGNATURE: _(
        "The signature does not fit: another secret, or the body was changed on its way."
    ),
    Reason.REUSED_ID: _("A message id came again with another body; the second body was dropped."),
    Reason.NO_MESSAGE_ID: _("A queue message carried no id: webhook-id, ce-id or the message_id property."),
    Reason.NOT_JSON: _("The body of a queue message is not a JSON object that can be read."),
    Reason.BAD_CLOUD_EVENT: _(
        "A CloudEvent is not of version 1.0, or lacks its id, source or type, or carries no JSON object as data."
    ),
}
OUTCOME_TONES = {
    Outcome.RECORDED: "good",
    Outcome.PARTLY: "warn",
    Outcome.REJECTED: "bad",
    Outcome.ERASED: "plain",
    Outcome.NOTHING_NEW: "plain",
    Outcome.UNKNOWN_TOPIC: "warn",
    Outcome.TEST: "info",
    Outcome.UNREADABLE: "bad",
    Outcome.ECHO: "plain",
    Outcome.JOB_STARTED: "good",
    Outcome.JOB_REFUSED: "bad",
}


def reason(value: str) -> str | Promise:
    return REASONS.get(value, value)
