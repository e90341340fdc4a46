"""What another choice of offers would have brought, from the decisions of a campaign that draws (Thompson sampling)."""

from __future__ import annotations

from .working import request, work

__all__ = ["request", "work"]
