"""Decisions with reasons, scores and service priorities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import ListResource, Resource, one
from crm_integration.api.queries import Filters, Query, since
from crm_integration.api.serializers.customers import ScoreSerializer
from crm_integration.api.serializers.decisions import (
    DecisionDetailSerializer,
    DecisionSerializer,
    ReasonsNowSerializer,
    ServicePrioritySerializer,
)
from crm_integration.api.views.customers import LEVELS, find
from crm_integration.models import Scope
from segmentation import decisions
from segmentation.decisions.explaining import RuleExplanation
from segmentation.models import (
    Campaign,
    Customer,
    Decision,
    Score,
    ServicePriority,
)
from segmentation.normal import MAX_REFERENCE


class DecisionsQuery(Query):
    customer = serializers.CharField(required=False, max_length=MAX_REFERENCE, help_text="The shop's id.")
    campaign = serializers.SlugField(required=False)
    offer = serializers.SlugField(required=False)
    decided_since = since("decisions made")


class DecisionsView(ListResource):
    scopes = {"GET": Scope.DECISIONS_READ}
    query = DecisionsQuery
    serializer = DecisionSerializer
    ordering = ("-id",)

    @extend_schema(
        operation_id="decisions_list", parameters=[DecisionsQuery], responses=DecisionSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Decisions, the newest first."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Decision]:
        rows = Decision.objects.select_related("customer", "offer", "campaign").defer("verdicts")
        if "customer" in wanted:
            rows = rows.filter(customer=find(wanted["customer"]))
        for name in ("campaign", "offer"):
            if name in wanted:
                rows = rows.filter(**{f"{name}__slug": wanted[name]})
        if "decided_since" in wanted:
            rows = rows.filter(decided_at__gte=wanted["decided_since"])
        return rows


class DecisionView(Resource):
    scopes = {"GET": Scope.DECISIONS_READ}

    @extend_schema(operation_id="decisions_read", responses=DecisionDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """One decision, with why and why not for every rule that was looked at."""
        rows = Decision.objects.select_related("customer", "offer", "campaign", "policy", "snapshot")
        decision = one(rows, pk=pk)
        explanation = decisions.explain(decision)
        reasons = {
            "summary": list(explanation.summary),
            "offers": [_told(rule) for rule in explanation.offers],
            "priorities": [_told(rule) for rule in explanation.priorities],
        }
        return Response(DecisionDetailSerializer(decision, context={"reasons": reasons}).data)


class WhyQuery(Filters):
    campaign = serializers.SlugField(
        required=False,
        help_text="Only this campaign; one that the last decision knows nothing of is judged now.",
    )


class WhyView(Resource):
    scopes = {"GET": Scope.DECISIONS_READ}
    query = WhyQuery

    @extend_schema(operation_id="customers_why", parameters=[WhyQuery], responses=ReasonsNowSerializer)
    def get(self, request: Request, reference: str) -> Response:
        """Why a customer gets or does not get what campaigns give: every rule, its verdict and what it found."""
        customer = find(reference)
        if "campaign" in self.wanted:
            campaign = one(Campaign.objects.all(), slug=self.wanted["campaign"])
            answer = decisions.why(customer, campaign)
            said = {
                "summary": [answer.sentence],
                "offers": [_told(rule) for rule in answer.rules],
                "priorities": [],
            }
            return Response(
                ReasonsNowSerializer({**said, "gets": answer.gets, "decided_at": answer.decided_at}).data
            )
        return Response(ReasonsNowSerializer(_everything(customer)).data)


def _everything(customer: Customer) -> dict[str, Any]:
    rows = Decision.objects.select_related("policy", "snapshot").filter(customer=customer)
    decision = rows.order_by("-pk").first()
    if decision is None:
        return {"summary": [], "offers": [], "priorities": [], "gets": False, "decided_at": None}
    found = decisions.explain(decision)
    return {
        "summary": list(found.summary),
        "offers": [_told(rule) for rule in found.offers],
        "priorities": [_told(rule) for rule in found.priorities],
        "gets": decision.offer_id is not None,
        "decided_at": decision.decided_at,
    }


def _told(rule: RuleExplanation) -> dict[str, Any]:
    return {
        "title": rule.title,
        "verdict": rule.verdict.name.lower(),
        "sentence": rule.sentence,
        "reasons": list(rule.reasons),
    }


class ScoresQuery(Query):
    target = serializers.SlugField(required=False, help_text="Only scores for this target.")


class ScoresView(ListResource):
    scopes = {"GET": Scope.SCORES_READ}
    query = ScoresQuery
    serializer = ScoreSerializer
    ordering = ("customer_id", "target_id")

    @extend_schema(operation_id="scores_list", parameters=[ScoresQuery], responses=ScoreSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Present scores of everybody."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Score]:
        rows = Score.objects.select_related("customer", "target", "version")
        return rows.filter(target__slug=wanted["target"]) if "target" in wanted else rows


class PrioritiesQuery(Query):
    level = serializers.ChoiceField(required=False, choices=sorted(LEVELS))
    since = since("customers served so")


class ServicePrioritiesView(ListResource):
    scopes = {"GET": Scope.DECISIONS_READ}
    query = PrioritiesQuery
    serializer = ServicePrioritySerializer
    ordering = ("-level", "-since", "-customer_id")

    @extend_schema(
        operation_id="service_priorities_list",
        parameters=[PrioritiesQuery],
        responses=ServicePrioritySerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """Who is served sooner or later than usual, the most urgent first."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[ServicePriority]:
        rows = ServicePriority.objects.select_related("customer", "rule", "override")
        if "level" in wanted:
            rows = rows.filter(level=LEVELS[wanted["level"]])
        return rows.filter(since__gte=wanted["since"]) if "since" in wanted else rows
