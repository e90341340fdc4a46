"""Connections to CRMs and the messages that pass through them."""

from crm_integration.models.connections import Connection
from crm_integration.models.jobs import JobRequest
from crm_integration.models.messages import DeliveryAttempt, InboundMessage, OutboundMessage, RefusedDelivery
from crm_integration.models.queues import QueueStatus
from crm_integration.models.reconciliations import Reconciliation

__all__ = [
    "Connection",
    "DeliveryAttempt",
    "InboundMessage",
    "JobRequest",
    "OutboundMessage",
    "QueueStatus",
    "Reconciliation",
    "RefusedDelivery",
]
