"""The web server's application as the harness runs it: the product's, with the points at which it may be killed."""

from __future__ import annotations

from config.wsgi import application
from tests.chaos import points

__all__ = ["application"]

points.install("insert", "publish")
