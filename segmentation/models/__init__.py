"""Everything the domain stores, one file a noun."""

from segmentation.models.alerts import Alert
from segmentation.models.audit import AuditEntry
from segmentation.models.campaigns import (
    Campaign,
    CampaignRule,
    Decision,
    HoldoutGroup,
    Offer,
    PolicyVersion,
    Redemption,
    ServicePriority,
    ServicePriorityRule,
)
from segmentation.models.customers import (
    AttributeDefinition,
    AttributeValue,
    Consent,
    ContactData,
    Customer,
    CustomerIdentity,
)
from segmentation.models.events import (
    Category,
    Event,
    EventItem,
    EventSource,
    EventText,
    ImportRun,
    Product,
)
from segmentation.models.features import CustomerFeatures, DueCustomer, FeaturePortrait, ShopContext
from segmentation.models.files import StoredFileChunk
from segmentation.models.leased import Leased, LeaseState
from segmentation.models.modeling import (
    ArtifactChunk,
    InputSnapshot,
    ModelSlot,
    ModelVersion,
    Promotion,
    Score,
    ScoreHistory,
    ScoringRun,
    ScoringShard,
    Target,
    TrainingRun,
    TrainingRunTarget,
)
from segmentation.models.segments import Membership, MembershipCause, PastMembership, Segment, SegmentVersion
from segmentation.models.shop import ExchangeRate, Shop

__all__ = [
    "Alert",
    "ArtifactChunk",
    "AttributeDefinition",
    "AttributeValue",
    "AuditEntry",
    "Campaign",
    "CampaignRule",
    "Category",
    "Consent",
    "ContactData",
    "Customer",
    "CustomerFeatures",
    "CustomerIdentity",
    "Decision",
    "DueCustomer",
    "Event",
    "EventItem",
    "EventSource",
    "EventText",
    "ExchangeRate",
    "FeaturePortrait",
    "HoldoutGroup",
    "ImportRun",
    "InputSnapshot",
    "LeaseState",
    "Leased",
    "Membership",
    "MembershipCause",
    "ModelSlot",
    "ModelVersion",
    "Offer",
    "PastMembership",
    "PolicyVersion",
    "Product",
    "Promotion",
    "Redemption",
    "Score",
    "ScoreHistory",
    "ScoringRun",
    "ScoringShard",
    "Segment",
    "SegmentVersion",
    "ServicePriority",
    "ServicePriorityRule",
    "Shop",
    "ShopContext",
    "StoredFileChunk",
    "Target",
    "TrainingRun",
    "TrainingRunTarget",
]
