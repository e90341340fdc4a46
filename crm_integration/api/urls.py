"""Every address of the REST door. References and product ids may hold slashes, hence `path`."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from crm_integration.api import schema
from crm_integration.api.views import (
    catalogue,
    customers,
    decisions,
    deliveries,
    estimates,
    intake,
    jobs,
    outlooks,
    privacy,
    results,
)

urlpatterns: list[URLPattern] = [
    path("schema/", schema.SchemaView.as_view(), name="api_schema"),
    path("docs/", schema.DocsView.as_view(), name="api_docs"),
    path("token/", deliveries.TokenView.as_view(), name="api_token"),
    # in
    path("events/", intake.EventsView.as_view(), name="api_events"),
    path("messages/<int:pk>/", intake.MessageView.as_view(), name="api_message"),
    # customers
    path("customers/", customers.CustomersView.as_view(), name="api_customers"),
    path("customers/lookup/", customers.LookupView.as_view(), name="api_lookup"),
    path(
        "customers/<path:reference>/next-action/", customers.NextActionView.as_view(), name="api_next_action"
    ),
    path("customers/<path:reference>/why/", decisions.WhyView.as_view(), name="api_why"),
    path(
        "customers/<path:reference>/events/",
        customers.CustomerEventsView.as_view(),
        name="api_customer_events",
    ),
    path(
        "customers/<path:reference>/scores/",
        customers.CustomerScoresView.as_view(),
        name="api_customer_scores",
    ),
    path("customers/<path:reference>/contact/", customers.ContactView.as_view(), name="api_contact"),
    path("customers/<path:reference>/", customers.CustomerView.as_view(), name="api_customer"),
    # results
    path("scores/", decisions.ScoresView.as_view(), name="api_scores"),
    path("decisions/", decisions.DecisionsView.as_view(), name="api_decisions"),
    path("decisions/<int:pk>/", decisions.DecisionView.as_view(), name="api_decision"),
    path("service-priorities/", decisions.ServicePrioritiesView.as_view(), name="api_service_priorities"),
    path("segments/", catalogue.SegmentsView.as_view(), name="api_segments"),
    path("segments/<slug:slug>/", catalogue.SegmentView.as_view(), name="api_segment"),
    path("segments/<slug:slug>/members/", catalogue.MembersView.as_view(), name="api_members"),
    path("campaigns/<slug:slug>/results/", results.CampaignResultView.as_view(), name="api_campaign_results"),
    path("offers/", catalogue.OffersView.as_view(), name="api_offers"),
    path("offers/<slug:slug>/", catalogue.OfferView.as_view(), name="api_offer"),
    path("products/", catalogue.ProductsView.as_view(), name="api_products"),
    path("products/<path:product_id>/", catalogue.ProductView.as_view(), name="api_product"),
    # work
    path("trainings/", jobs.TrainingsView.as_view(), name="api_trainings"),
    path("trainings/<int:pk>/", jobs.TrainingView.as_view(), name="api_training"),
    path("trainings/<int:pk>/cancel/", jobs.CancelTrainingView.as_view(), name="api_cancel_training"),
    path("classifications/", jobs.ClassificationsView.as_view(), name="api_classifications"),
    path("classifications/<int:pk>/", jobs.ClassificationView.as_view(), name="api_classification"),
    path(
        "classifications/<int:pk>/cancel/",
        jobs.CancelClassificationView.as_view(),
        name="api_cancel_classification",
    ),
    path("estimates/", estimates.EstimatesView.as_view(), name="api_estimates"),
    path("estimates/<int:pk>/", estimates.EstimateView.as_view(), name="api_estimate"),
    path("imports/", jobs.ImportsView.as_view(), name="api_imports"),
    path("imports/<int:pk>/", jobs.ImportView.as_view(), name="api_import"),
    path("imports/<int:pk>/cancel/", jobs.CancelImportView.as_view(), name="api_cancel_import"),
    path("outlooks/", outlooks.OutlooksView.as_view(), name="api_outlooks"),
    path("outlooks/<int:pk>/", outlooks.OutlookView.as_view(), name="api_outlook"),
    path("models/", catalogue.ModelVersionsView.as_view(), name="api_models"),
    path("models/<int:number>/", catalogue.ModelVersionView.as_view(), name="api_model"),
    path("deliveries/", deliveries.DeliveriesView.as_view(), name="api_deliveries"),
    path("deliveries/<int:pk>/", deliveries.DeliveryView.as_view(), name="api_delivery"),
    path("privacy-requests/", privacy.PrivacyRequestsView.as_view(), name="api_privacy_requests"),
    path("privacy-requests/<int:pk>/", privacy.PrivacyRequestView.as_view(), name="api_privacy_request"),
    path(
        "privacy-requests/<int:pk>/document/",
        privacy.PrivacyDocumentView.as_view(),
        name="api_privacy_document",
    ),
    # everything else
    re_path(r"^.*$", schema.NowhereView.as_view(), name="api_nowhere"),
]
