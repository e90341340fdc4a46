"""Shopify's GraphQL Admin API as far as we write to it: tags and metafields of customers, costs, throttling."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.crm_integration.fake_vendor import FakeVendor

GID = "gid://shopify/Customer/"
CALL = re.compile(
    r"(\w+): (metafieldsSet|metafieldsDelete|tagsAdd|tagsRemove)\((?:id: \$(\w+), )?(?:metafields|tags): \$(\w+)\)"
)


@dataclass
class FakeShopify(FakeVendor):
    """`people`: id → {"tags": set, "metafields": {(namespace, key): value}}. `bucket`: the points that are left."""

    people: dict = field(default_factory=dict)
    bucket: float = 1000
    most: float = 1000
    restore: float = 50
    throttle_next: int = 0
    mutations: list = field(default_factory=list)

    def add(self, *ids):
        for key in ids:
            self.people[str(key)] = {"tags": {"vip"}, "metafields": {}}

    def answer(self, request):
        if not request.path.endswith("/graphql.json"):
            return super().answer(request)
        if request.headers.get("x-shopify-access-token") != "shpat_1":
            return 401, {}, {"errors": "[API] Invalid API key or access token"}
        query, variables = request.content["query"], request.content["variables"]
        cost = 10 * len(CALL.findall(query)) or 12 * len(variables.get("ids", [1]))
        # Time passes only when we wait.
        self.bucket = min(self.most, self.bucket + self.restore * sum(self.waits))
        self.waits.clear()
        if self.throttle_next or cost > self.bucket:
            self.throttle_next = max(self.throttle_next - 1, 0)
            error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
            return 200, {}, {"errors": [error], "extensions": self._cost(cost)}
        self.bucket -= cost
        data = self._query(variables) if query.startswith("query") else self._mutate(query, variables)
        return 200, {}, {"data": data, "extensions": self._cost(cost)}

    def _cost(self, cost):
        status = {
            "maximumAvailable": self.most,
            "currentlyAvailable": self.bucket,
            "restoreRate": self.restore,
        }
        return {"cost": {"requestedQueryCost": cost, "actualQueryCost": cost, "throttleStatus": status}}

    def _query(self, variables):
        if "ids" not in variables:
            return {"shop": {"name": "Shop"}}
        return {"nodes": [self._node(gid, variables["namespace"]) for gid in variables["ids"]]}

    def _node(self, gid, namespace):
        person = self.people.get(gid.removeprefix(GID))
        if person is None:
            return None
        nodes = [
            {"key": key, "value": value}
            for (space, key), value in person["metafields"].items()
            if space == namespace
        ]
        return {"id": gid, "tags": sorted(person["tags"]), "metafields": {"nodes": nodes}}

    def _mutate(self, query, variables):
        assert all(f"${name}:" in query for name in variables), "a variable that was not declared"
        told = {}
        for alias, name, owner, given in CALL.findall(query):
            self.mutations.append(name)
            told[alias] = {"userErrors": getattr(self, f"_{name}")(variables.get(owner), variables[given])}
        return told

    def _metafieldsSet(self, _owner, metafields):  # noqa: N802
        if len(metafields) > 25:
            return [
                {
                    "message": "Exceeded the maximum metafields input limit of 25",
                    "code": "LESS_THAN_OR_EQUAL_TO",
                }
            ]
        for entry in metafields:
            if entry["ownerId"].removeprefix(GID) not in self.people:
                return [
                    {
                        "field": ["metafields", "0", "ownerId"],
                        "message": "Owner does not exist.",
                        "code": "INVALID",
                    }
                ]
            if not entry["value"]:
                return [{"message": "Value can't be blank.", "code": "BLANK"}]
            if len(entry["value"]) > 200:
                return [{"message": "Value is too long", "code": "INVALID_VALUE"}]
        for entry in metafields:
            person = self.people[entry["ownerId"].removeprefix(GID)]
            person["metafields"][entry["namespace"], entry["key"]] = entry["value"]
        return []

    def _metafieldsDelete(self, _owner, metafields):  # noqa: N802
        for entry in metafields:
            person = self.people.get(entry["ownerId"].removeprefix(GID), {"metafields": {}})
            person["metafields"].pop((entry["namespace"], entry["key"]), None)
        return []

    def _tagsAdd(self, owner, tags):  # noqa: N802
        person = self.people.get(owner.removeprefix(GID))
        if person is None:
            return [{"field": ["id"], "message": "Customer does not exist"}]
        person["tags"] |= set(tags)
        return []

    def _tagsRemove(self, owner, tags):  # noqa: N802
        self.people.get(owner.removeprefix(GID), {"tags": set()})["tags"].difference_update(tags)
        return []
