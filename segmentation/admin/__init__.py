"""The staff console; one file for each models file."""

from segmentation.admin import (  # noqa: F401
    accounts,
    alerts,
    audit,
    campaigns,
    customers,
    events,
    features,
    modeling,
    privacy,
    segments,
    shop,
)
