"""Mautic's contacts, tags and segments, with its habits: unknown fields are ignored, small numbers are dropped."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from tests.crm_integration.fake_vendor import FakeVendor

BASIC = "Basic " + base64.b64encode(b"api:pass-1").decode()
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass
class FakeMautic(FakeVendor):
    people: dict = field(default_factory=dict)
    known: set = field(default_factory=set)
    segments: dict = field(default_factory=dict)  # alias → set of contacts
    most: int = 200

    def add(self, *ids):
        for key in ids:
            self.people[int(key)] = {"fields": {"email": f"c{key}@example.com"}, "tags": {"newsletter"}}

    def answer(self, request):
        if request.headers.get("authorization") != BASIC:
            return 403, {}, {"errors": [{"code": 403, "message": "You do not have access"}]}
        if request.path == "/api/contacts/batch/edit":
            assert request.method == "PATCH"
            return self._edit(request.content)
        if request.path == "/api/contacts":
            return 200, {}, {"total": 0, "contacts": []}
        if request.path == "/api/segments":
            lists = {str(n): {"id": n, "alias": alias} for n, alias in enumerate(self.segments, start=1)}
            return 200, {}, {"total": len(lists), "lists": lists}
        found = re.fullmatch(r"/api/contacts/([0-9]+)", request.path)
        if found:
            return self._contact(int(found[1]))
        found = re.fullmatch(r"/api/segments/([0-9]+)/contacts/add", request.path)
        if found:
            return self._join(int(found[1]), request.content["ids"])
        found = re.fullmatch(r"/api/segments/([0-9]+)/contact/([0-9]+)/remove", request.path)
        if found:
            list(self.segments.values())[int(found[1]) - 1].discard(int(found[2]))
            return 200, {}, {"success": 1}
        return super().answer(request)

    def record(self, key):
        person = self.people[key]
        core = {alias: {"alias": alias, "value": value} for alias, value in person["fields"].items()}
        fields = {"core": core, "all": dict(person["fields"])}
        return {
            "id": key,
            "dateAdded": "2026-03-01T09:00:00+00:00",
            "dateModified": person.get("modified", "2026-11-01T10:00:00+00:00"),
            "points": 5,
            "fields": fields,
            "tags": [{"id": n, "tag": tag} for n, tag in enumerate(sorted(person["tags"]))],
            "doNotContact": person.get("dnc", []),
        }

    def _contact(self, key):
        if key not in self.people:
            return 404, {}, {"errors": [{"code": 404, "message": "Item was not found."}]}
        return 200, {}, {"contact": self.record(key)}

    def _edit(self, items):
        if len(items) > self.most:
            return 500, {}, {"errors": [{"code": 500, "message": f"Batch limit is {self.most}"}]}
        codes, errors = {}, {}
        for n, item in enumerate(items):
            codes[n] = 200
            if item["id"] not in self.people:
                codes[n] = 404
                errors[n] = {"code": 404, "message": "Item was not found."}
            elif any(len(str(value)) > 191 for name, value in item.items() if name in self.known):
                codes[n] = 400
                errors[n] = {"code": 400, "message": "tier: This value is too long."}
            else:
                self._change(item)
        return 200, {}, {"contacts": {}, "statusCodes": codes, **({"errors": errors} if errors else {})}

    def _change(self, item):
        person = self.people[item["id"]]
        for name, value in item.items():
            is_small = NUMBER.fullmatch(str(value)) and int(float(value)) == 0
            if name in self.known and not is_small and (value or item.get("overwriteWithBlank")):
                person["fields"][name] = value
        for tag in item.get("tags", ()):
            if tag.startswith("-"):
                person["tags"].discard(tag[1:])
            else:
                person["tags"].add(tag)

    def _join(self, number, ids):
        members = list(self.segments.values())[number - 1]
        details = {str(key): {"success": key in self.people} for key in ids}
        members |= {key for key in ids if key in self.people}
        return 200, {}, {"success": 1, "details": details}
