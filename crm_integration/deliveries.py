"""How many customers a campaign really reached: whose decision was delivered to a receiver (settings.DELIVERY_COUNTER)."""

from __future__ import annotations

from django.db.models import CharField, Exists, OuterRef, Value
from django.db.models.functions import Cast, Concat

from crm_integration.models import Connection, OutboundMessage
from segmentation.models import Decision


def delivered(campaign_id: int) -> int | None:
    """Customers of the campaign with a decision that a receiver took. None where no connection receives any.

    Messages are kept for 90 days (docs/reliability.md), so of an old campaign fewer are counted than there were.
    """
    # Asked of each connection: the messages of 90 days are millions.
    told = Exists(OutboundMessage.objects.filter(connection=OuterRef("pk")))
    receivers = list(Connection.objects.filter(told).values_list("pk", flat=True))
    if not receivers:
        return None
    name = Concat(Value("decision_"), Cast(OuterRef("pk"), CharField()), output_field=CharField())
    taken = OutboundMessage.objects.filter(
        connection__in=receivers, message_id=name, delivered_at__isnull=False
    )
    reached = Decision.objects.filter(Exists(taken), campaign=campaign_id).order_by()
    return reached.values("customer").distinct().count()
