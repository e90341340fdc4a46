"""WooCommerce's customers: a batch of at most 100, an answer for each item in its order, meta entries by key."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from tests.crm_integration.adapters.signing import content
from tests.crm_integration.fake_vendor import FakeVendor

BASE = "/wp-json/wc/v3/customers"
BASIC = "Basic " + base64.b64encode(b"ck_1:cs_1").decode()


@dataclass
class FakeWooCommerce(FakeVendor):
    people: dict = field(default_factory=dict)
    most: int = 100
    changes: int = 0

    def add(self, *ids):
        for key in ids:
            row = {**content("woocommerce/customer_created"), "id": int(key), "email": f"c{key}@example.com"}
            self.people[int(key)] = {**row, "meta_data": [{"id": 1, "key": "theme", "value": {"dark": True}}]}

    def answer(self, request):
        if request.headers.get("authorization") != BASIC:
            return 401, {}, {"code": "woocommerce_rest_authentication_error", "message": "Invalid signature"}
        if request.path == f"{BASE}/batch":
            return self._batch(request.content["update"])
        if request.path == BASE:
            wanted = str(request.query.get("include", "")).split(",")
            return 200, {}, [row for key, row in self.people.items() if str(key) in wanted]
        return super().answer(request)

    def _batch(self, update):
        if len(update) > self.most:
            message = f"Unable to accept more than {self.most} items for this request."
            return 413, {}, {"code": "woocommerce_rest_request_entity_too_large", "message": message}
        return 200, {}, {"update": [self._updated(item) for item in update]}

    def _updated(self, item):
        row = self.people.get(item["id"])
        if row is None:
            return _error(item["id"], "woocommerce_rest_user_invalid_id", "Invalid resource ID.", 400)
        if any(len(entry["value"]) > 200 for entry in item["meta_data"]):
            return _error(item["id"], "rest_invalid_param", "Invalid parameter(s): meta_data", 400)
        for entry in item["meta_data"]:
            self.put(item["id"], entry["key"], entry["value"])
        return row

    def put(self, key, name, value):
        row = self.people[key]
        self.changes += 1
        row["date_modified_gmt"] = f"2026-11-01T10:{self.changes // 60:02}:{self.changes % 60:02}"
        for entry in row["meta_data"]:
            if entry["key"] == name:
                entry["value"] = value
                return
        row["meta_data"].append({"id": len(row["meta_data"]) + 1, "key": name, "value": value})


def _error(key, code, message, status):
    return {"id": key, "error": {"code": code, "message": message, "data": {"status": status}}}
