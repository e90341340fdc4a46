"""Where a customer's rows are. A test walks all models and fails when one that refers to customers is not here."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from segmentation.dashboard.words import Text
from segmentation.models import (
    AttributeValue,
    Consent,
    ContactData,
    CustomerFeatures,
    CustomerIdentity,
    Decision,
    DueCustomer,
    Event,
    EventItem,
    EventText,
    InputSnapshot,
    Membership,
    PastMembership,
    Redemption,
    Score,
    ScoreHistory,
    ServicePriority,
)

# Deleted with their event, a piece of a customer's events a transaction.
OF_EVENTS: tuple[type[models.Model], ...] = (EventItem, EventText, Redemption)
# Few a customer: deleted together. Each has a foreign key called `customer`.
OF_CUSTOMERS: tuple[type[models.Model], ...] = (
    Redemption,
    Decision,
    InputSnapshot,
    ServicePriority,
    Score,
    ScoreHistory,
    CustomerFeatures,
    Membership,
    PastMembership,
    DueCustomer,
    AttributeValue,
    Consent,
    CustomerIdentity,
    ContactData,
)
# What staff are shown before they confirm.
SHOWN: tuple[tuple[type[models.Model], Text], ...] = (
    (CustomerIdentity, _("ids")),
    (ContactData, _("contact data")),
    (Consent, _("consents")),
    (AttributeValue, _("values of your own columns")),
    (Event, _("events")),
    (Score, _("scores")),
    (ScoreHistory, _("earlier scores")),
    (Membership, _("segments")),
    (PastMembership, _("segment history")),
    (Decision, _("decisions")),
    (Redemption, _("used offers")),
)


def held(customer_ids: list[int]) -> list[tuple[Text, int]]:
    """How many rows of each kind these customers have."""
    return [
        (label, model._default_manager.filter(customer__in=customer_ids).count()) for model, label in SHOWN
    ]
