"""Connections to CRMs and the messages that pass through them."""

from crm_integration.models.connections import Connection
from crm_integration.models.messages import DeliveryAttempt, InboundMessage, OutboundMessage, RefusedDelivery

__all__ = ["Connection", "DeliveryAttempt", "InboundMessage", "OutboundMessage", "RefusedDelivery"]
