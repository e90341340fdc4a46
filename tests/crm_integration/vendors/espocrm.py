"""EspoCRM's API: one record a request, unknown attributes are ignored, lists by `where` items, reasons in a header."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.crm_integration.fake_vendor import FakeVendor

BASE = "/api/v1/Contact"


def changed(rows, query):
    """The list of records that changed between two times, as EspoCRM answers it: both ends count, ids break ties."""
    assert (query["where[0][type]"], query["where[0][attribute]"]) == ("between", "modifiedAt")
    assert (query["orderBy"], query["order"]) == ("modifiedAt", "asc")
    size, offset = int(query["maxSize"]), int(query["offset"])
    assert size <= 200
    first, last = query["where[0][value][]"]
    assert len(first) == len(last) == len("2026-11-01 10:00:00")
    found = sorted(
        (row for row in rows if first <= row["modifiedAt"] <= last),
        key=lambda row: (row["modifiedAt"], row["id"]),
    )
    return {"total": -1, "list": found[offset : offset + size]}


@dataclass
class FakeEspoCrm(FakeVendor):
    people: dict = field(default_factory=dict)
    known: set = field(default_factory=set)

    def add(self, *ids):
        for key in ids:
            self.people[str(key)] = {
                "id": str(key), "firstName": "Ada", "emailAddress": f"c{key}@example.com",
                "createdAt": "2026-03-01 09:00:00", "modifiedAt": "2026-11-01 10:00:00", "doNotCall": False,
                **dict.fromkeys(self.known),
            }  # fmt: skip

    def answer(self, request):
        if request.headers.get("x-api-key") != "key-1":
            return 401, {"X-Status-Reason": "Unauthorized"}, {}
        if request.path == BASE:
            return self._list(request.query)
        key = request.path.removeprefix(f"{BASE}/")
        if key not in self.people:
            return 404, {}, {}
        assert request.method == "PUT"
        if any(len(value or "") > 150 for value in request.content.values()):
            return (
                400,
                {"X-Status-Reason": "Field validation failure; field: cTierwise, type: maxLength."},
                {},
            )
        self.people[key] |= {name: value for name, value in request.content.items() if name in self.known}
        return 200, {}, self.people[key]

    def _list(self, query):
        if query["maxSize"] == "1" and "where[0][type]" not in query:
            return 200, {}, {"total": 0, "list": []}
        assert int(query["maxSize"]) <= 200
        assert (query["where[0][type]"], query["where[0][attribute]"]) == ("in", "id")
        wanted = query["where[0][value][]"]
        wanted = wanted if isinstance(wanted, list) else [wanted]
        names = query["select"].split(",")
        found = [self.people[key] for key in wanted if key in self.people]
        rows = [{name: row[name] for name in names if name in row} for row in found]
        return 200, {}, {"total": len(rows), "list": rows}
