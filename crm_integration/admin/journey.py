"""The way of one message, step by step: stored, understood, customer, scored, decided, delivered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from crm_integration.admin.effects import Effects
from crm_integration.models import Connection, InboundMessage
from segmentation.dashboard import words
from segmentation.models import LeaseState

DONE, NOW, WAIT, FAILED, SKIPPED = "done", "now", "wait", "failed", "skipped"
Text = str | Promise
# After so long without a worker staff should look whether one runs.
PATIENCE = 8
Outcome = InboundMessage.Outcome


@dataclass(frozen=True)
class Step:
    """`state`: done, now, wait, failed or skipped. `took`: since the message was received."""

    name: str
    label: str
    state: str
    text: str = ""
    link: str = ""
    took: str = ""


def of(message: InboundMessage, user: Any) -> dict[str, Any]:
    """JSON for the open page: {"steps", "over", "hint"}. Links only to pages that `user` may see."""
    steps = _Way(message, user).steps()
    over = all(step.state in {DONE, FAILED, SKIPPED} for step in steps)
    waited = (timezone.now() - message.received_at).total_seconds()
    slow = not over and waited > PATIENCE
    return {
        "steps": [asdict(step) for step in steps],
        "over": over,
        "hint": _("Nothing moves? Look under “System health” whether a worker runs.") if slow else "",
        "message": message.pk,
    }


class _Way:
    def __init__(self, message: InboundMessage, user: Any) -> None:
        self.message, self.user = message, user
        self.effects = Effects(message)

    def steps(self) -> list[Step]:
        found = [self.stored(), self.understood()]
        names = (("customer", self.customer), ("scored", self.scored), ("decided", self.decided))
        for name, step in (*names, ("delivered", self.delivered)):
            before = found[-1]
            if before.state in {NOW, WAIT}:
                found.append(Step(name, self.label(name), WAIT))
            elif before.state == FAILED or (before.state == SKIPPED and name != "customer"):
                found.append(Step(name, self.label(name), SKIPPED))
            else:
                found.append(step())
        return found

    def label(self, name: str) -> str:
        return {
            "stored": _("Stored"),
            "understood": _("Understood"),
            "customer": _("Customer found"),
            "scored": _("Scored"),
            "decided": _("Decided"),
            "delivered": _("Delivered"),
        }[name]

    def step(self, name: str, state: str, text: Text = "", **more: str) -> Step:
        return Step(name, self.label(name), state, str(text), **more)

    def took(self, at: datetime | None) -> str:
        if at is None:
            return ""
        seconds = max(0.0, (at - self.message.received_at).total_seconds())
        return _("after %(seconds)s s") % {"seconds": words.number(seconds, 2 if seconds < 10 else 0)}

    def link(self, permission: str, page: str, *args: Any) -> str:
        return reverse(page, args=args) if self.user.has_perm(permission) else ""

    # --- the steps
    def stored(self) -> Step:
        page = "admin:crm_integration_inboundmessage_change"
        link = self.link("crm_integration.view_inboundmessage", page, self.message.pk)
        text = _("Signed, checked and stored as message %(number)s.") % {"number": self.message.pk}
        return self.step("stored", DONE, text, link=link)

    def understood(self) -> Step:
        message = self.message
        if message.state in {LeaseState.FAILED, LeaseState.CANCELLED}:
            return self.step("understood", FAILED, message.error)
        if message.state != LeaseState.DONE:
            tries = _("It will be tried again: %(error)s") % {"error": message.error}
            waiting = tries if message.error else _("A worker reads it in a moment.")
            return self.step("understood", NOW, waiting)
        state = FAILED if message.outcome in {Outcome.UNREADABLE, Outcome.REJECTED} else DONE
        return self.step(
            "understood", state, message.get_outcome_display(), took=self.took(message.finished_at)
        )

    def customer(self) -> Step:
        customers = self.effects.customers
        if not customers:
            return self.step("customer", SKIPPED, _("It names no customer, so there is nothing to score."))
        first = customers[0]
        page = "admin:segmentation_customer_change"
        link = self.link("segmentation.view_customer", page, first.pk)
        more = _("%(name)s and %(count)s more") % {"name": first.reference, "count": len(customers) - 1}
        return self.step("customer", DONE, first.reference if len(customers) == 1 else more, link=link)

    def scored(self) -> Step:
        stuck = [row for row in self.effects.waiting.values() if row.state == LeaseState.FAILED]
        if stuck:
            return self.step("scored", FAILED, stuck[0].error)
        if self.effects.waiting:
            return self.step("scored", NOW, _("A worker scores the customer in a moment."))
        customer = self.effects.customers[0]
        text = words.abstain(customer.abstain_reason) or words.tier(customer.tier)
        return self.step("scored", DONE, text)

    def decided(self) -> Step:
        decision = self.effects.decisions.get(self.effects.customers[0].pk)
        if decision is None:
            return self.step("decided", SKIPPED, _("There was nothing to decide."))
        said = _("offer: %(offer)s; service: %(priority)s") % {
            "offer": decision.offer.name if decision.offer else _("none"),
            "priority": decision.get_priority_display(),
        }
        if self.effects.is_new(decision):
            return self.step("decided", DONE, said, took=self.took(decision.decided_at))
        old = _("As before (%(when)s): %(decision)s") % {
            "when": words.moment(decision.decided_at),
            "decision": said,
        }
        return self.step("decided", DONE, old)

    def delivered(self) -> Step:
        rows = self.effects.sent.get(self.effects.customers[0].pk, [])
        if not rows:
            sending = Connection.objects.filter(is_active=True, sends_outbound=True).exists()
            nothing = (
                _("Nothing new for the receivers.") if sending else _("No connection sends decisions yet.")
            )
            return self.step("delivered", SKIPPED, nothing)
        row = rows[0]
        page = "admin:crm_integration_outboundmessage_change"
        link = self.link("crm_integration.view_outboundmessage", page, row.pk)
        state = _DELIVERY.get(row.state, NOW)
        to = _("to %(connection)s") % {"connection": row.connection.name}
        text = f"{to}: {row.get_state_display()}" + (f" – {row.error}" if row.error else "")
        return self.step("delivered", state, text, link=link, took=self.took(row.delivered_at))


_DELIVERY: dict[str, str] = {LeaseState.DONE: DONE, LeaseState.FAILED: FAILED, LeaseState.CANCELLED: SKIPPED}


def newest(connection: Connection, *, after: int) -> InboundMessage | None:
    """The first message of the connection that came after the one with this id: a real one of the CRM, watched."""
    rows = InboundMessage.objects.filter(connection=connection, pk__gt=after)
    return rows.select_related("connection").order_by("pk").first()


def last_id(connection: Connection) -> int:
    rows = InboundMessage.objects.filter(connection=connection).order_by("-pk")
    return rows.values_list("pk", flat=True).first() or 0
