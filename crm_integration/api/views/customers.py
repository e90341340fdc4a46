"""Customers and what belongs to one: events, scores, contact data, the next action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet, prefetch_related_objects
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration import next_action
from crm_integration.api.base import ListResource, Resource
from crm_integration.api.queries import Query, since
from crm_integration.api.serializers.customers import (
    ContactSerializer,
    CustomerDetailSerializer,
    CustomerSerializer,
    EventSerializer,
    ExplainedScoreSerializer,
    FoundSerializer,
    LookupSerializer,
    NextActionSerializer,
)
from crm_integration.api.views.intake import CustomersIn
from crm_integration.models import Scope
from segmentation import consents, contacts, identities, overrides, reasons
from segmentation.dashboard import score_views
from segmentation.models import (
    AuditEntry,
    Consent,
    Customer,
    Decision,
    Event,
    Membership,
    PastMembership,
    Score,
    Segment,
    Shop,
    Target,
)
from segmentation.models.customers import PriorityLevel
from segmentation.normal import MAX_REFERENCE, is_clean

LEVELS = {level.name.lower(): level.value for level in PriorityLevel}


def find(reference: str) -> Customer:
    """The customer the shop knows under `reference`; after a merge, the survivor. Raises NotFound."""
    if len(reference) > MAX_REFERENCE or not is_clean(reference):
        raise NotFound
    rows = Customer.objects.select_related("current_offer", "merged_into__current_offer")
    customer = rows.filter(reference=reference).first() or identities.resolve(identities.SHOP, reference)
    if customer is None:
        raise NotFound
    return customer.merged_into or customer


class CustomersQuery(Query):
    reference = serializers.CharField(required=False, max_length=MAX_REFERENCE, help_text="Exactly this one.")
    tier = serializers.CharField(required=False, max_length=32)
    segment = serializers.SlugField(required=False, help_text="Members of this segment.")
    priority = serializers.ChoiceField(required=False, choices=sorted(LEVELS))
    updated_since = since("customers about whom something was decided, or who changed tier or segment,")


class CustomersView(CustomersIn, ListResource):
    scopes = {"GET": Scope.CUSTOMERS_READ, "POST": Scope.CUSTOMERS_WRITE}
    query = CustomersQuery
    serializer = CustomerSerializer
    tells_money = True

    @extend_schema(
        operation_id="customers_list", parameters=[CustomersQuery], responses=CustomerSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Everybody, merged customers once, in order of first being known."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Customer]:
        rows = Customer.objects.filter(merged_into=None).select_related("current_offer")
        rows = rows.prefetch_related(_set_tiers())
        for name in ("reference", "tier"):
            if name in wanted:
                rows = rows.filter(**{name: wanted[name]})
        if "priority" in wanted:
            rows = rows.filter(priority=LEVELS[wanted["priority"]])
        if "segment" in wanted:
            inside = Membership.objects.filter(customer=OuterRef("pk"), segment__slug=wanted["segment"])
            rows = rows.filter(Exists(inside))
        if "updated_since" in wanted:
            rows = rows.filter(_updated(wanted["updated_since"]))
        return rows


def _set_tiers() -> Prefetch:
    """Tiers that staff set, as `set_tiers`."""
    rows = overrides.in_force().filter(target__kind=Target.Kind.VALUE_TIER)
    return Prefetch("overrides", queryset=rows, to_attr="set_tiers")


def _updated(moment: Any) -> Q:
    """Decisions, new tiers and those who left by an index; who is in reads the memberships, a row of a few bytes each."""
    decided = Decision.objects.filter(decided_at__gte=moment).values("customer_id")
    left = PastMembership.objects.filter(segment__in=Segment.objects.values("pk"), left_at__gte=moment)
    entered = Membership.objects.filter(entered_at__gte=moment)
    moved = (left.values("customer_id"), entered.values("customer_id"))
    regraded = Customer.objects.filter(tier_changed_at__gte=moment)
    return Q(pk__in=decided.union(*moved, regraded.values("pk"), all=True))


class CustomerView(Resource):
    scopes = {"GET": Scope.CUSTOMERS_READ}

    @extend_schema(operation_id="customers_read", responses=CustomerDetailSerializer)
    def get(self, request: Request, reference: str) -> Response:
        """One customer with segments and consent."""
        customer = find(reference)
        prefetch_related_objects([customer], _set_tiers())
        slugs = Membership.objects.filter(customer=customer, segment__is_active=True)
        answers = consents.current([customer.pk])
        context = {
            "shop": Shop.get(),
            "segments": list(slugs.order_by("segment__slug").values_list("segment__slug", flat=True)),
            "consents": {
                purpose.value: answers.get((customer.pk, purpose.value)) for purpose in Consent.Purpose
            },
        }
        return Response(CustomerDetailSerializer(customer, context=context).data)


class NextActionView(Resource):
    scopes = {"GET": Scope.DECISIONS_READ}

    @extend_schema(operation_id="customers_next_action", responses=NextActionSerializer)
    def get(self, request: Request, reference: str) -> Response:
        """What to do about a customer now: tier, priority, offer, why, and how fresh it is. Poll it with If-None-Match."""
        answer = next_action.of(find(reference), now=timezone.now())
        return Response(NextActionSerializer(answer).data)


class CustomerEventsQuery(Query):
    occurred_since = since("events that happened")


class CustomerEventsView(ListResource):
    scopes = {"GET": Scope.EVENTS_READ}
    query = CustomerEventsQuery
    serializer = EventSerializer
    tells_money = True
    ordering = ("-occurred_at", "-id")

    @extend_schema(
        operation_id="customers_events",
        parameters=[CustomerEventsQuery],
        responses=EventSerializer(many=True),
    )
    def get(self, request: Request, reference: str) -> Response:
        """What a customer did, the newest first, from before a merge too."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Event]:
        customer = find(self.kwargs["reference"])
        people = [customer.pk, *customer.merged_from.values_list("pk", flat=True)]
        rows = Event.objects.filter(customer__in=people).select_related("source")
        if "occurred_since" in wanted:
            rows = rows.filter(occurred_at__gte=wanted["occurred_since"])
        return rows


class CustomerScoresView(Resource):
    scopes = {"GET": Scope.SCORES_READ}

    @extend_schema(operation_id="customers_scores", responses=ExplainedScoreSerializer(many=True))
    def get(self, request: Request, reference: str) -> Response:
        """What is predicted of a customer and why, one score a target. Reasons are found by a worker when asked for."""
        customer = find(reference)
        reasons.ask(customer.pk)
        rows = Score.objects.filter(customer=customer).select_related("customer", "target", "version")
        scores = list(rows.order_by("target__slug"))
        said = overrides.of_customer(customer)
        told = score_views.of_customer(customer, Shop.get(), said)
        context = {
            "views": dict(zip((score.pk for score in scores), told, strict=True)),
            "overrides": {row.target_id: row for row in said},
        }
        return Response(ExplainedScoreSerializer(scores, many=True, context=context).data)


class ContactView(Resource):
    scopes = {"GET": Scope.CONTACT_READ}
    is_private = True

    @extend_schema(operation_id="customers_contact", responses=ContactSerializer)
    def get(self, request: Request, reference: str) -> Response:
        """Name, e-mail, phone. Every look is written down."""
        customer = find(reference)
        AuditEntry.record("contact_read", customer, token=self.token.prefix)
        return Response(ContactSerializer(contacts.read(customer) or contacts.Contact()).data)


class LookupView(Resource):
    scopes = {"POST": Scope.CONTACT_READ}
    is_private = True

    @extend_schema(operation_id="customers_lookup", request=LookupSerializer, responses=FoundSerializer)
    def post(self, request: Request) -> Response:
        """The customer with this e-mail. Every look is written down, the address is not."""
        asked = LookupSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        customer = contacts.find_by_email(asked.validated_data["email"])
        AuditEntry.record("email_searched", customer, token=self.token.prefix, found=customer is not None)
        if customer is None:
            raise NotFound
        return Response(FoundSerializer(customer).data)
