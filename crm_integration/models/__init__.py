"""Connections to CRMs and the messages that pass through them."""

from crm_integration.models.connections import Connection
from crm_integration.models.messages import DeliveryAttempt, InboundMessage, OutboundMessage, RefusedDelivery
from crm_integration.models.reconciliations import Reconciliation

__all__ = [
    "Connection",
    "DeliveryAttempt",
    "InboundMessage",
    "OutboundMessage",
    "Reconciliation",
    "RefusedDelivery",
]
