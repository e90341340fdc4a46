"""What is defined or made for everybody: segments with members, offers, products, model versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import ListResource, Resource, one
from crm_integration.api.queries import Query, since
from crm_integration.api.serializers.decisions import (
    MemberSerializer,
    OfferSerializer,
    ProductSerializer,
    SegmentSerializer,
)
from crm_integration.api.serializers.jobs import (
    ModelVersionDetailSerializer,
    ModelVersionSerializer,
)
from crm_integration.models import Scope
from segmentation import segment_history
from segmentation.models import (
    Membership,
    ModelVersion,
    Offer,
    Product,
    Segment,
    Shop,
)
from segmentation.normal import is_clean

FIRST_DAY = date(1970, 1, 1)


class SegmentsView(ListResource):
    scopes = {"GET": Scope.SEGMENTS_READ}
    serializer = SegmentSerializer

    @extend_schema(operation_id="segments_list", parameters=[Query], responses=SegmentSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Segments with their rules and sizes."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Segment]:
        return Segment.objects.select_related("version")


class SegmentView(Resource):
    scopes = {"GET": Scope.SEGMENTS_READ}

    @extend_schema(operation_id="segments_read", responses=SegmentSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """One segment."""
        return Response(SegmentSerializer(one(Segment.objects.select_related("version"), slug=slug)).data)


class MembersQuery(Query):
    entered_since = since("members who came in")
    on = serializers.DateField(
        required=False, help_text="Who was in at the end of this day of the shop, instead of now."
    )

    def validate_on(self, day: date) -> date:
        if not FIRST_DAY <= day <= timezone.now().astimezone(Shop.get().zone).date():
            raise ValidationError(_("A day from 1970 to today."))
        return day

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "on" in attrs and "entered_since" in attrs:
            raise ValidationError(_("Ask for “on” or for “entered_since”, not for both."))
        return attrs


class MembersView(ListResource):
    scopes = {"GET": Scope.SEGMENTS_READ}
    query = MembersQuery
    serializer = MemberSerializer
    ordering = ("customer_id",)

    @extend_schema(
        operation_id="segments_members", parameters=[MembersQuery], responses=MemberSerializer(many=True)
    )
    def get(self, request: Request, slug: str) -> Response:
        """Who is in a segment now, or was on a day, and since when."""
        return self.page_on(request, self.wanted["on"]) if "on" in self.wanted else self.page(request)

    def page_on(self, request: Request, day: date) -> Response:
        segment = one(Segment.objects.all(), slug=self.kwargs["slug"])
        paginator = self.pagination_class()
        stays = paginator.page_of(
            lambda after, most: segment_history.stays_on(segment, day, limit=most, after=after),
            key="customer_id",
            cursor=self.wanted["cursor"],
            limit=self.wanted["limit"],
        )
        shown = MemberSerializer(stays, many=True).data
        return Response({"next": paginator.next_link(request), "results": shown})

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Membership]:
        segment = one(Segment.objects.all(), slug=self.kwargs["slug"])
        rows = Membership.objects.filter(segment=segment).select_related("customer")
        return rows.filter(entered_at__gte=wanted["entered_since"]) if "entered_since" in wanted else rows


class OffersView(ListResource):
    scopes = {"GET": Scope.OFFERS_READ}
    serializer = OfferSerializer
    tells_money = True

    @extend_schema(operation_id="offers_list", parameters=[Query], responses=OfferSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Offers as they are defined; what a customer gets stands in the next action."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Offer]:
        return Offer.objects.all()


class OfferView(Resource):
    scopes = {"GET": Scope.OFFERS_READ}

    @extend_schema(operation_id="offers_read", responses=OfferSerializer)
    def get(self, request: Request, slug: str) -> Response:
        """One offer."""
        return Response(
            OfferSerializer(one(Offer.objects.all(), slug=slug), context={"shop": Shop.get()}).data
        )


class ProductsQuery(Query):
    id = serializers.CharField(required=False, max_length=128, help_text="Exactly this one.")
    category = serializers.CharField(required=False, max_length=200)


class ProductsView(ListResource):
    scopes = {"GET": Scope.PRODUCTS_READ}
    query = ProductsQuery
    serializer = ProductSerializer

    @extend_schema(
        operation_id="products_list", parameters=[ProductsQuery], responses=ProductSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Products that events have named."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[Product]:
        rows = Product.objects.select_related("category")
        if "id" in wanted:
            rows = rows.filter(external_id=wanted["id"])
        return rows.filter(category__name=wanted["category"]) if "category" in wanted else rows


class ProductView(Resource):
    scopes = {"GET": Scope.PRODUCTS_READ}

    @extend_schema(operation_id="products_read", responses=ProductSerializer)
    def get(self, request: Request, product_id: str) -> Response:
        """One product by the shop's id."""
        wanted = product_id if is_clean(product_id) else ""
        return Response(
            ProductSerializer(one(Product.objects.select_related("category"), external_id=wanted)).data
        )


class ModelVersionsView(ListResource):
    scopes = {"GET": Scope.MODELS_READ}
    serializer = ModelVersionSerializer
    ordering = ("-number",)

    @extend_schema(
        operation_id="models_list", parameters=[Query], responses=ModelVersionSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Model versions, the newest first."""
        return self.page(request)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[ModelVersion]:
        large = ("evaluation", "data_snapshot", "features", "config")
        return ModelVersion.objects.defer(*large).prefetch_related("targets", "champion_of__target")


class ModelVersionView(Resource):
    scopes = {"GET": Scope.MODELS_READ}

    @extend_schema(operation_id="models_read", responses=ModelVersionDetailSerializer)
    def get(self, request: Request, number: int) -> Response:
        """One model version with its figures."""
        rows = ModelVersion.objects.prefetch_related("targets", "champion_of__target")
        return Response(ModelVersionDetailSerializer(one(rows, number=number)).data)
