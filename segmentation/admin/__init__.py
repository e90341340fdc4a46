"""The staff console; one file for each models file."""

from segmentation.admin import (  # noqa: F401
    accounts,
    alerts,
    attributes,
    audit,
    campaigns,
    customers,
    decisions,
    events,
    features,
    maps,
    modeling,
    offers,
    outlooks,
    privacy,
    segments,
    service,
    shop,
    texts,
)
