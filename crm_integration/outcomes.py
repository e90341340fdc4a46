"""What came of a message, in the fields of its row that staff see."""

from __future__ import annotations

from typing import Any

from crm_integration import facts
from crm_integration.adapters.base import Parsed
from crm_integration.models import InboundMessage
from segmentation.normal import IngestReport, Rejection

MAX_TOPIC = 100
REJECTIONS_KEPT = 50
CUSTOMERS_KEPT = 20
Outcome = InboundMessage.Outcome


def topic_of(parsed: Parsed) -> str:
    return parsed.topic.replace("\x00", "")[:MAX_TOPIC]


def of_recorded(parsed: Parsed, recorded: facts.Recorded, *, echoed: int = 0) -> dict[str, Any]:
    """echoed: how much of the message was our own change."""
    return {
        "topic": topic_of(parsed),
        "events_created": recorded.report.created,
        "outcome": _outcome(parsed, recorded, echoed),
        "detail": _detail(recorded.report, recorded.rejections, echoed),
    }


def _outcome(parsed: Parsed, recorded: facts.Recorded, echoed: int) -> str:
    report, rejections = recorded.report, recorded.rejections
    has_news = bool(report.created or report.customer_ids or parsed.privacy)
    if rejections:
        return Outcome.PARTLY if has_news or report.repeated else Outcome.REJECTED
    if report.erased and not has_news and not report.repeated:
        return Outcome.ERASED
    if has_news:
        return Outcome.RECORDED
    return Outcome.ECHO if echoed else Outcome.NOTHING_NEW


def _detail(report: IngestReport, rejections: list[Rejection], echoed: int) -> dict[str, Any]:
    return {
        **({"echoes": echoed} if echoed else {}),
        "created": report.created,
        "repeated": report.repeated,
        "anonymous": report.anonymous,
        "erased": report.erased,
        "customers": len(report.customer_ids),
        "customer_ids": sorted(report.customer_ids)[:CUSTOMERS_KEPT],
        "rejected": len(rejections),
        "rejections": [
            {"item": found.index, "reason": found.reason} for found in rejections[:REJECTIONS_KEPT]
        ],
    }
