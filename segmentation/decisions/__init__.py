"""Choose an offer and a service priority for a set of customers, with the reasons.

policy: what is in force, as one hashed document · verdicts: who wins, on a whole frame · deciding: what is written ·
snapshots: what a decision saw · explaining: the sentences, rebuilt from all of these.
"""

from segmentation.decisions.asking import CampaignAnswer, why
from segmentation.decisions.deciding import PEOPLE, Decided, decide, people
from segmentation.decisions.explaining import DecisionExplanation, explain, replay

__all__ = [
    "PEOPLE",
    "CampaignAnswer",
    "Decided",
    "DecisionExplanation",
    "decide",
    "explain",
    "people",
    "replay",
    "why",
]
