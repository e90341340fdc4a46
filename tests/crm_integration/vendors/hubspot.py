"""HubSpot's batches of contacts: unknown properties fail all of it, errors of one stand beside the results of others."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.crm_integration.fake_vendor import FakeVendor

CONTACTS = "/crm/v3/objects/contacts"


@dataclass
class FakeHubSpot(FakeVendor):
    people: dict = field(default_factory=dict)
    properties: set = field(default_factory=set)
    busy: list = field(default_factory=list)  # policy names, or (policy name, seconds)
    missing_is_an_error: bool = True

    def add(self, *ids):
        for key in ids:
            self.people[str(key)] = {"email": f"{key}@example.com"}

    def answer(self, request):
        if request.headers.get("authorization") != "Bearer pat-1":
            return 401, {}, {"status": "error", "category": "INVALID_AUTHENTICATION"}
        if self.busy:
            policy, seconds = self.busy.pop(0)
            headers = {"Retry-After": str(seconds)} if seconds else {}
            return 429, headers, {"status": "error", "errorType": "RATE_LIMIT", "policyName": policy}
        if request.path == f"{CONTACTS}/batch/update":
            return self._update(request.content["inputs"])
        if request.path == f"{CONTACTS}/batch/read":
            known = [entry["id"] for entry in request.content["inputs"] if entry["id"] in self.people]
            return 200, {}, {"results": [self._read(key, request.content) for key in known]}
        if request.path.startswith("/crm/v3/properties/contacts/"):
            name = request.path.rpartition("/")[2]
            return (200, {}, {"name": name}) if name in self.properties else (404, {}, {"status": "error"})
        return super().answer(request)

    def _read(self, key, asked):
        return {"id": key, "properties": {name: self.people[key].get(name) for name in asked["properties"]}}

    def _update(self, inputs):
        ids = [entry["id"] for entry in inputs]
        if len(ids) > 100:
            return 400, {}, _error("VALIDATION_ERROR", "The maximum number of inputs is 100")
        if len(ids) != len(set(ids)):
            return 400, {}, _error("VALIDATION_ERROR", "Duplicate IDs found in batch input")
        for entry in inputs:
            unknown = set(entry["properties"]) - self.properties
            if unknown:
                return 400, {}, _error("VALIDATION_ERROR", f"PROPERTY_DOESNT_EXIST: {sorted(unknown)}")
            if any(len(value) > 200 for value in entry["properties"].values()):
                return 400, {}, _error("VALIDATION_ERROR", "Property values were not valid: too long")
        results, errors = [], []
        for entry in inputs:
            if entry["id"] in self.people:
                self.people[entry["id"]] |= entry["properties"]
                results.append({"id": entry["id"], "properties": entry["properties"]})
            elif self.missing_is_an_error:
                errors.append({**_error("OBJECT_NOT_FOUND", "Not found"), "context": {"ids": [entry["id"]]}})
        if errors:
            return (
                207,
                {},
                {"status": "COMPLETE", "results": results, "numErrors": len(errors), "errors": errors},
            )
        return 200, {}, {"status": "COMPLETE", "results": results}


def _error(category, message):
    return {"status": "error", "category": category, "message": message}
