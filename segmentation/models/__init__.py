"""Everything the domain stores, one file a noun."""

from segmentation.models.access import RecoveryCode, SecondFactor, SignInTries
from segmentation.models.alerts import Alert
from segmentation.models.attempts import SearchTrial, TrainingCheckpoint
from segmentation.models.audit import AuditEntry, AuditOpening
from segmentation.models.backtests import PolicyBacktest
from segmentation.models.campaigns import Campaign, CampaignRule, FrequencyCap, HoldoutGroup
from segmentation.models.customers import (
    AttributeDefinition,
    AttributeValue,
    Consent,
    ContactData,
    Customer,
    CustomerCounts,
    CustomerIdentity,
)
from segmentation.models.decisions import Decision, PolicyVersion
from segmentation.models.estimates import PolicyEstimate
from segmentation.models.evaluations import EvaluationRun
from segmentation.models.events import (
    Category,
    Event,
    EventCode,
    EventItem,
    EventSource,
    EventText,
    ImportRun,
    Product,
    ProductImage,
    TextModel,
)
from segmentation.models.features import CustomerFeatures, DueCustomer, FeaturePortrait, ShopContext
from segmentation.models.files import StoredFileChunk
from segmentation.models.insight import CustomerMap, DemandOutlook, Explanation, PromotionDiff, RuleCount
from segmentation.models.leased import Leased, LeaseState
from segmentation.models.modeling import (
    ArtifactChunk,
    ModelCheck,
    ModelSlot,
    ModelVersion,
    Promotion,
    Target,
    TrainingRun,
    TrainingRunTarget,
)
from segmentation.models.offers import (
    Channel,
    Grant,
    Offer,
    OfferCode,
    OfferText,
    Redemption,
    Suppression,
    Usage,
)
from segmentation.models.overrides import ScoreOverride
from segmentation.models.priorities import (
    DecideAgain,
    PriorityOverride,
    PriorityReview,
    ServicePriority,
    ServicePriorityRule,
)
from segmentation.models.privacy import PrivacyRequest, Tombstone
from segmentation.models.processes import WorkerProcess
from segmentation.models.results import CampaignResult
from segmentation.models.scoring import InputSnapshot, Score, ScoreHistory, ScoringRun, ScoringShard
from segmentation.models.segments import (
    ListEntry,
    Membership,
    MembershipCause,
    PastMembership,
    Segment,
    SegmentVersion,
)
from segmentation.models.shop import ExchangeRate, Shop
from segmentation.models.suggestions import ProductSuggestion

__all__ = [
    "Alert",
    "ArtifactChunk",
    "AttributeDefinition",
    "AttributeValue",
    "AuditEntry",
    "AuditOpening",
    "Campaign",
    "CampaignResult",
    "CampaignRule",
    "Category",
    "Channel",
    "Consent",
    "ContactData",
    "Customer",
    "CustomerCounts",
    "CustomerFeatures",
    "CustomerIdentity",
    "CustomerMap",
    "DecideAgain",
    "Decision",
    "DemandOutlook",
    "DueCustomer",
    "EvaluationRun",
    "Event",
    "EventCode",
    "EventItem",
    "EventSource",
    "EventText",
    "ExchangeRate",
    "Explanation",
    "FeaturePortrait",
    "FrequencyCap",
    "Grant",
    "HoldoutGroup",
    "ImportRun",
    "InputSnapshot",
    "LeaseState",
    "Leased",
    "ListEntry",
    "Membership",
    "MembershipCause",
    "ModelCheck",
    "ModelSlot",
    "ModelVersion",
    "Offer",
    "OfferCode",
    "OfferText",
    "PastMembership",
    "PolicyBacktest",
    "PolicyEstimate",
    "PolicyVersion",
    "PriorityOverride",
    "PriorityReview",
    "PrivacyRequest",
    "Product",
    "ProductImage",
    "ProductSuggestion",
    "Promotion",
    "PromotionDiff",
    "RecoveryCode",
    "Redemption",
    "RuleCount",
    "Score",
    "ScoreHistory",
    "ScoreOverride",
    "ScoringRun",
    "ScoringShard",
    "SearchTrial",
    "SecondFactor",
    "Segment",
    "SegmentVersion",
    "ServicePriority",
    "ServicePriorityRule",
    "Shop",
    "ShopContext",
    "SignInTries",
    "StoredFileChunk",
    "Suppression",
    "Target",
    "TextModel",
    "Tombstone",
    "TrainingCheckpoint",
    "TrainingRun",
    "TrainingRunTarget",
    "Usage",
    "WorkerProcess",
]
