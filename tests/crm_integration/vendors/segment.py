"""Segment's tracking and profile APIs: sizes are limited, repeats are known by messageId, nearly all is answered 200."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.crm_integration.fake_vendor import FakeVendor


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


@dataclass
class FakeSegment(FakeVendor):
    events: dict = field(default_factory=dict)  # messageId → event
    traits: dict = field(default_factory=dict)
    busy: list = field(default_factory=list)

    def answer(self, request):
        if request.path == "/v1/batch":
            return self._batch(request)
        prefix = "/v1/spaces/spa_1/collections/users/profiles/user_id:"
        if request.path.startswith(prefix) and request.headers.get("authorization") == basic("token-1"):
            user = unquote(request.path.removeprefix(prefix).removesuffix("/traits"))
            if user not in self.traits:
                return 404, {}, {"error": {"code": "not_found"}}
            return 200, {}, {"traits": self.traits[user], "cursor": {"has_more": False}}
        return super().answer(request)

    def _batch(self, request):
        if self.busy:
            return 429, {"Retry-After": str(self.busy.pop(0))}, {}
        batch = request.content["batch"]
        if request.size > 500_000 or any(len(json.dumps(event)) > 32_000 for event in batch):
            return 400, {}, {"success": False, "message": "exceeds the limit"}
        if request.headers.get("authorization") == basic("key-1"):
            for event in batch:
                if event["messageId"] not in self.events:
                    self.events[event["messageId"]] = event
                    if event["type"] == "identify":
                        self.traits.setdefault(event["userId"], {}).update(event["traits"])
        return 200, {}, {"success": True}
