"""What can be said about a candidate: one byte each in Decision.verdicts."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Verdict(IntEnum):
    """The numbers are a contract and never reused.

    A campaign rule is judged in this order: can it be read, may its predictions be used, does the customer fit, was
    it triggered, is the offer on, is there consent and no suppression, is the customer held out (of everything, of the
    campaign), must they wait, had they enough of it, is it an hour for it; then which rule of the campaign is chosen,
    has an earlier campaign won, is a frequency cap reached, is something left of the budget and the offer. So whoever
    is held out did fit, and is the control group; and nothing is counted for who gets nothing.
    """

    RULE_FALSE = 0
    WON = 1
    OUTRANKED = 2
    NOT_PROFILED = 3
    OFFER_INACTIVE = 4
    NO_CONSENT = 5
    HELD_OUT_GLOBAL = 6
    HELD_OUT_CAMPAIGN = 7
    RE_ENTRY_WAIT = 8
    UNREADABLE = 9
    CAPPED = 10
    OUTSIDE_HOURS = 11
    BUDGET_GONE = 12
    OFFER_GONE = 13
    CUSTOMER_LIMIT = 14
    NO_CODE = 15
    OFFER_NOT_NOW = 16
    NOT_TRIGGERED = 17
    EXCLUDED = 18
    SUPPRESSED = 19
    PRIORITY_SET = 20
    PRIORITY_AFTER = 21
    PRIORITY_NEEDS_APPROVAL = 22
    PRIORITY_RAISED = 23
    PRIORITY_EXPIRED = 24
    PRIORITY_OVERRIDDEN = 25
    BESIDE = 30
    NOT_CHOSEN = 31
    BELOW_FLOOR = 32
    KEPT = 33
    NOT_WORTH = 34


# The customer has the offer: as the one of the decision, or beside it.
MAIN: Final = (Verdict.WON, Verdict.KEPT)
GIVEN: Final = (*MAIN, Verdict.BESIDE)
# Settled by more than the customer's values: when it was, what they had before, what others took.
BY_CIRCUMSTANCE: Final = (
    Verdict.RE_ENTRY_WAIT,
    Verdict.CAPPED,
    Verdict.OUTSIDE_HOURS,
    Verdict.BUDGET_GONE,
    Verdict.OFFER_GONE,
    Verdict.CUSTOMER_LIMIT,
    Verdict.NO_CODE,
    Verdict.NOT_TRIGGERED,
    Verdict.SUPPRESSED,
    Verdict.NOT_CHOSEN,
    Verdict.BELOW_FLOOR,
)
AT_THE_END: Final = (Verdict.CAPPED, Verdict.BUDGET_GONE, Verdict.OFFER_GONE, Verdict.NO_CODE)
