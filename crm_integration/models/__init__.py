"""Connections to CRMs, the messages that pass through them, and the tokens of the REST door."""

from crm_integration.models.connections import Connection
from crm_integration.models.hours import InboundHour, InboundTally
from crm_integration.models.jobs import JobRequest
from crm_integration.models.messages import DeliveryAttempt, InboundMessage, OutboundMessage, RefusedDelivery
from crm_integration.models.pushing import DriftCheck, EchoCount, PushedRecord
from crm_integration.models.queues import QueueStatus
from crm_integration.models.reconciliations import Reconciliation
from crm_integration.models.tokens import ApiToken, Scope, StoredReply

__all__ = [
    "ApiToken",
    "Connection",
    "DeliveryAttempt",
    "DriftCheck",
    "EchoCount",
    "InboundHour",
    "InboundMessage",
    "InboundTally",
    "JobRequest",
    "OutboundMessage",
    "PushedRecord",
    "QueueStatus",
    "Reconciliation",
    "RefusedDelivery",
    "Scope",
    "StoredReply",
]
