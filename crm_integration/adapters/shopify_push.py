"""Writing tags and metafields of Shopify customers by the GraphQL Admin API, and reading them back.

Limits (shopify.dev/docs/api/admin-graphql: metafieldsSet, tagsAdd; /docs/apps/build/apis/graphql-admin/rate-limits):
at most 25 metafields a metafieldsSet, which is all or nothing; costs are taken from a bucket that refills at
`restoreRate`, an answer says how full it is, and who asks for more than is in it gets the error THROTTLED.
Several mutations may stand in one request, each under an alias; they run one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _

from crm_integration import fetching
from crm_integration.adapters.pushing import (
    DONE,
    Names,
    Outcomes,
    Values,
    Write,
    absent,
    in_parts,
    parts,
    refused,
)
from crm_integration.http import DeliveryError

PATH = "/graphql.json"
MOST_METAFIELDS = 25
# Customers a request: three mutations of ten points each and what they return stay far below a standard shop's bucket.
AT_ONCE = 5
MUTATION_COST = 10
READ_AT_ONCE = 10
FIELD_TYPE = "single_line_text_field"
TRIES = 3
GID = "gid://shopify/Customer/"
MISSING = ("does not exist", "not found", "owner not found")


class Bucket:
    """How many points are left, as the last answer told; waits until there are enough for the next request."""

    def __init__(self, api: fetching.Api) -> None:
        self._api, self._left, self._rate = api, float("inf"), 50.0

    def take(self, cost: float) -> None:
        if self._left < cost:
            self.wait(cost)

    def wait(self, cost: float) -> None:
        seconds = max((cost - max(self._left, 0)) / self._rate, 0.1)
        if seconds > fetching.SHORT_WAIT.total_seconds():
            raise DeliveryError(
                _("The CRM asks us to come back later."), retry_after=timedelta(seconds=seconds)
            )
        self._api.sleep(seconds)
        self._left += seconds * self._rate

    def told(self, content: Mapping[str, Any]) -> float:
        """Remember what is left; returns what the request would have needed."""
        cost = _part(_part(content, "extensions"), "cost")
        status = _part(cost, "throttleStatus")
        self._left = float(status.get("currentlyAvailable", self._left))
        self._rate = float(status.get("restoreRate") or self._rate)
        return float(cost.get("requestedQueryCost") or 0)


def push(api: fetching.Api, writes: Sequence[Write], *, names: Names) -> Outcomes:
    bucket = Bucket(api)

    def send(part: Sequence[Write]) -> Outcomes:
        query, variables = _mutations(part, names)
        cost = MUTATION_COST * query.count("userErrors")
        data = _ask(api, bucket, query, variables, cost=cost)
        return {write.key: _outcome(data, number) for number, write in enumerate(part)}

    return in_parts(parts(writes, AT_ONCE), send)


def read_back(api: fetching.Api, references: Sequence[str], *, names: Names) -> dict[str, Values]:
    bucket, held = Bucket(api), {}
    for start in range(0, len(references), READ_AT_ONCE):
        ids = [f"{GID}{reference}" for reference in references[start : start + READ_AT_ONCE]]
        variables = {"ids": ids, "namespace": names.namespace, "most": MOST_METAFIELDS}
        data = _ask(api, bucket, READ, variables, cost=len(ids) * (MOST_METAFIELDS + 2))
        for node in data.get("nodes") or ():
            if isinstance(node, dict) and str(node.get("id", "")).startswith(GID):
                held[node["id"].removeprefix(GID)] = _held(node, names)
    return held


READ = """query held($ids: [ID!]!, $namespace: String!, $most: Int!) {
  nodes(ids: $ids) { ... on Customer { id tags metafields(namespace: $namespace, first: $most) { nodes { key value } } } }
}"""
PROBE = "query who { shop { name } }"


def probe(api: fetching.Api) -> None:
    _ask(api, Bucket(api), PROBE, {}, cost=1)


def _held(node: Mapping[str, Any], names: Names) -> Values:
    metafields = _part(node, "metafields").get("nodes") or []
    ours = set(names.all_fields)
    fields = {
        str(entry.get("key")): str(entry.get("value") or "")
        for entry in metafields
        if isinstance(entry, dict) and entry.get("key") in ours
    }
    return Values(fields, names.own(str(tag) for tag in node.get("tags") or ()))


def _mutations(part: Sequence[Write], names: Names) -> tuple[str, dict[str, Any]]:
    """One request for several customers. A metafield cannot be empty, so an emptied one is deleted."""
    declared, asked = [], []
    variables: dict[str, Any] = {}

    def add(name: str, kind: str, value: Any, mutation: str) -> None:
        declared.append(f"${name}: {kind}")
        asked.append(f"{name}: {mutation}")
        variables[name] = value

    for number, write in enumerate(part):
        owner = {"ownerId": f"{GID}{write.reference}", "namespace": names.namespace}
        declared.append(f"$id{number}: ID!")
        variables[f"id{number}"] = owner["ownerId"]
        kept = [
            {**owner, "key": key, "type": FIELD_TYPE, "value": value}
            for key, value in write.fields.items()
            if value
        ]
        emptied = [{**owner, "key": key} for key, value in write.fields.items() if not value]
        if kept:
            name = f"set{number}"
            call = f"metafieldsSet(metafields: ${name}) {{ userErrors {{ field message code }} }}"
            add(name, "[MetafieldsSetInput!]!", kept[:MOST_METAFIELDS], call)
        if emptied:
            name = f"clear{number}"
            call = f"metafieldsDelete(metafields: ${name}) {{ userErrors {{ field message }} }}"
            add(name, "[MetafieldIdentifierInput!]!", emptied, call)
        for name, kind, tags in (
            ("add", "tagsAdd", write.add_tags),
            ("drop", "tagsRemove", write.remove_tags),
        ):
            if tags:
                call = f"{kind}(id: $id{number}, tags: ${name}{number}) {{ userErrors {{ field message }} }}"
                add(f"{name}{number}", "[String!]!", list(tags), call)
    lines = "\n  ".join(asked)
    used = [line for line in declared if not line.startswith("$id") or f"(id: {line.split(':')[0]}," in lines]
    variables = {
        name: value for name, value in variables.items() if any(f"${name}:" in line for line in used)
    }
    return f"mutation push({', '.join(used)}) {{\n  {lines}\n}}", variables


def _outcome(data: Mapping[str, Any], number: int) -> Any:
    """What the mutations about one customer said."""
    for name in ("set", "clear", "add", "drop"):
        for error in _part(data, f"{name}{number}").get("userErrors") or ():
            message = str(error.get("message", ""))
            return absent() if any(word in message.casefold() for word in MISSING) else refused(message)
    return DONE


def _ask(
    api: fetching.Api, bucket: Bucket, query: str, variables: Mapping[str, Any], *, cost: float
) -> Mapping[str, Any]:
    """The `data` of an answer; a throttled request is asked again when the bucket has refilled."""
    for _attempt in range(TRIES):
        bucket.take(cost)
        answer = api.write(PATH, {"query": query, "variables": variables})
        content = fetching.content(answer)
        if not isinstance(content, dict):
            raise DeliveryError(_("The CRM did not answer with JSON; check the address."))
        needed = bucket.told(content)
        errors = content.get("errors")
        if not errors and isinstance(content.get("data"), dict):
            return content["data"]
        codes = {_part(error, "extensions").get("code") for error in errors or () if isinstance(error, dict)}
        if "THROTTLED" not in codes:
            raise _failure(errors, codes, answer.status)
        bucket.wait(needed or cost)
    raise DeliveryError(_("The CRM asks us to come back later."), retry_after=timedelta(seconds=30))


def _failure(errors: Any, codes: set[Any], status: int) -> DeliveryError:
    first = (
        errors[0].get("message", "") if isinstance(errors, list) and isinstance(errors[0], dict) else errors
    )
    return DeliveryError(
        _("The CRM answered with an error (%(status)d): %(text)s")
        % {"status": status, "text": str(first)[:160]},
        permanent="ACCESS_DENIED" in codes,
    )


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}
