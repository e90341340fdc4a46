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
    DecideAgain,
    Decision,
    DueCustomer,
    Event,
    EventCode,
    EventItem,
    EventText,
    Explanation,
    Grant,
    InputSnapshot,
    ListEntry,
    Membership,
    PastMembership,
    PriorityOverride,
    PriorityReview,
    ProductSuggestion,
    Redemption,
    Score,
    ScoreHistory,
    ScoreOverride,
    ServicePriority,
    Suppression,
)

# Deleted with their event, a piece of a customer's events a transaction.
OF_EVENTS: tuple[type[models.Model], ...] = (EventItem, EventText, EventCode, Redemption)
# Few a customer: deleted together. Each has a foreign key called `customer`.
OF_CUSTOMERS: tuple[type[models.Model], ...] = (
    Redemption,
    Decision,
    InputSnapshot,
    Grant,
    Suppression,
    PriorityReview,
    ServicePriority,
    PriorityOverride,
    DecideAgain,
    Score,
    ScoreHistory,
    ScoreOverride,
    Explanation,
    ProductSuggestion,
    CustomerFeatures,
    ListEntry,
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
    (ScoreOverride, _("classes set by staff")),
    (Membership, _("segments")),
    (PastMembership, _("segment history")),
    (ListEntry, _("entries in segments by hand")),
    (Decision, _("decisions")),
    (Redemption, _("used offers")),
    (Grant, _("given offers")),
    (Suppression, _("suppressions")),
    (PriorityOverride, _("priorities set by hand")),
    (PriorityReview, _("reviews of service priorities")),
)


def held(customer_ids: list[int]) -> list[tuple[Text, int]]:
    """How many rows of each kind these customers have."""
    return [
        (label, model._default_manager.filter(customer__in=customer_ids).count()) for model, label in SHOWN
    ]
