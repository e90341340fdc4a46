"""Tasks are views for the queue: ids in, a service call, nothing else. Heavy imports wait until a job runs."""

from workers import warmup
from workers.tasks import default, inbound, outbound, score, train

__all__ = ["default", "inbound", "outbound", "score", "train", "warmup"]
