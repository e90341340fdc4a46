"""Each vendor that is written to: its fake, how it is connected, and what its records hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from crm_integration import connections
from crm_integration.connections import Door
from crm_integration.models import Connection
from segmentation.models import CustomerIdentity
from tests.crm_integration import fixtures
from tests.crm_integration.adapters import signing
from tests.crm_integration.adapters.signing import content
from tests.crm_integration.vendors.espocrm import FakeEspoCrm
from tests.crm_integration.vendors.hubspot import FakeHubSpot
from tests.crm_integration.vendors.mautic import FakeMautic
from tests.crm_integration.vendors.segment import FakeSegment
from tests.crm_integration.vendors.shopify import FakeShopify
from tests.crm_integration.vendors.woocommerce import FakeWooCommerce

OUTPUTS = [
    "tier",
    "segments",
    "churn",
    "value",
    "offer",
    "offer_text",
    "offer_code",
    "offer_until",
    "campaign",
    "priority",
]
OURS = {f"tierwise_{output}" for output in OUTPUTS}
CAMEL = {f"cTierwise{output.title().replace('_', '')}" for output in OUTPUTS}


@dataclass(frozen=True)
class Kind:
    slug: str
    fake: type
    credentials: dict
    options: dict = field(default_factory=dict)
    prefix: str = "tierwise_"
    tags: bool = False
    at_once: int = 100  # customers a request
    knows_absence: bool = True
    refuses_values: bool = True

    def make(self):
        fake = self.fake()
        if self.slug == "hubspot":
            fake.properties = set(OURS)
        if self.slug == "mautic":
            fake.known = set(OURS)
        if self.slug == "espocrm":
            fake.known = set(CAMEL)
        return fake

    def name(self, output):
        """The field that holds this output unless staff choose another."""
        if self.slug == "espocrm":
            return f"{self.prefix}{output.title().replace('_', '')}"
        return f"{self.prefix}{output}"

    def connect(self, **fields):
        row = fixtures.connection(
            "crm",
            adapter=self.slug,
            inbound=False,
            sends_outbound=True,
            outbound_via=Connection.Via.VENDOR,
            **fields,
        )
        connections.set_secret(row, Door.INBOUND, secret="its-own-secret")
        connections.save_settings(row, options=self.options, credentials=self.credentials)
        return row

    def knows(self, fake, person, key):
        """The CRM has a record `key` of this customer, and we know that."""
        if self.slug == "segment":
            return
        fake.add(key)
        CustomerIdentity.objects.create(customer=person, namespace="crm", value=str(key))

    def reference(self, person, key):
        return person.reference if self.slug == "segment" else str(key)

    def fields(self, fake, reference):
        """What the record holds under our names."""
        return {
            name: value
            for name, value in self._all(fake, reference).items()
            if name in self._names() and value
        }

    def _names(self):
        return {self.name(output) for output in OUTPUTS}

    def _all(self, fake, reference) -> dict[str, Any]:
        if self.slug == "shopify":
            held = fake.people[reference]["metafields"].items()
            return {key: value for (space, key), value in held if space == "tierwise"}
        if self.slug in {"hubspot", "espocrm"}:
            return fake.people[reference]
        if self.slug == "woocommerce":
            return {entry["key"]: entry["value"] for entry in fake.people[int(reference)]["meta_data"]}
        if self.slug == "mautic":
            return fake.people[int(reference)]["fields"]
        return fake.traits.get(reference, {})

    def tags_of(self, fake, reference):
        return fake.people[int(reference) if self.slug == "mautic" else reference]["tags"]

    def edit(self, fake, reference, name, value):
        """Somebody changes a field of ours in the CRM."""
        name = self.name(name)
        if self.slug == "shopify":
            fake.people[reference]["metafields"]["tierwise", name] = value
        elif self.slug in {"hubspot", "espocrm"}:
            fake.people[reference][name] = value
        elif self.slug == "woocommerce":
            fake.put(int(reference), name, value)
        elif self.slug == "mautic":
            fake.people[int(reference)]["fields"][name] = value
        else:
            fake.traits[reference][name] = value

    def remove(self, fake, reference):
        if self.slug == "segment":
            del fake.traits[reference]
        else:
            fake.people.pop(int(reference) if self.slug in {"mautic", "woocommerce"} else reference)

    def message(self, fake, reference, *, at, number=1, **changes):
        """(headers for the door, body) of the message that a change of the record causes; `changes` came with it."""
        body = getattr(self, f"_{self.slug}_body")(fake, reference, at, number, changes)
        topic = {"shopify": {"topic": "customers/update"}, "woocommerce": {"topic": "customer.updated"}}
        raw = json.dumps(body).encode()
        return self._sign(raw, topic.get(self.slug, {})), raw

    def _sign(self, raw, topic):
        if self.slug == "hubspot":
            return signing.hubspot("its-own-secret", raw, url=connections.hook_url(Connection.objects.get()))
        return getattr(signing, self.slug)("its-own-secret", raw, **topic)

    def _shopify_body(self, fake, reference, at, number, changes):
        """As of API version 2025-01: without tags."""
        body = {
            **content("shopify/customers_update"),
            "id": int(reference),
            "updated_at": at.isoformat(),
            **changes,
        }
        for gone in ("tags", "email_marketing_consent", "sms_marketing_consent"):
            body.pop(gone, None)
        return body

    def _woocommerce_body(self, fake, reference, at, number, changes):
        plain = at.replace(tzinfo=None).isoformat(timespec="seconds")
        return {**fake.people[int(reference)], "date_modified_gmt": plain, **changes}

    def _mautic_body(self, fake, reference, at, number, changes):
        fake.people[int(reference)]["fields"] |= changes
        record = {**fake.record(int(reference)), "dateModified": at.isoformat()}
        return {"mautic.lead_post_save_update": [{"contact": record, "timestamp": at.isoformat()}]}

    def _espocrm_body(self, fake, reference, at, number, changes):
        fake.people[reference] |= changes
        return [{**fake.people[reference], "modifiedAt": at.strftime("%Y-%m-%d %H:%M:%S")}]

    def _hubspot_body(self, fake, reference, at, number, changes):
        fake.people[reference] |= changes
        fake.people[reference]["lastmodifieddate"] = at.isoformat()
        told = {**{n: v for n, v in fake.people[reference].items() if n in OURS and v}, **changes}
        told = told or {"email": fake.people[reference]["email"]}
        return [
            {
                "eventId": number * 1000 + index, "subscriptionId": 1, "portalId": 1, "appId": 9,
                "occurredAt": int(at.timestamp() * 1000), "subscriptionType": "contact.propertyChange",
                "attemptNumber": 0, "objectId": int(reference), "changeSource": "INTEGRATION", "sourceId": "9",
                "propertyName": name, "propertyValue": value,
            }
            for index, (name, value) in enumerate(told.items())
        ]  # fmt: skip

    def _segment_body(self, fake, reference, at, number, changes):
        if changes:
            traits = {"firstName": changes["first_name"]}
            told = {"type": "identify", "userId": reference, "messageId": f"theirs-{number}"}
            return {**told, "timestamp": at.isoformat(), "traits": traits}
        return next(event for event in reversed(fake.events.values()) if event["userId"] == reference)


KINDS = [
    Kind(
        "shopify", FakeShopify, {"access_token": "shpat_1"}, {"shop_domain": "shop.myshopify.com"},
        prefix="", tags=True, at_once=5,
    ),
    Kind("hubspot", FakeHubSpot, {"access_token": "pat-1"}),
    Kind(
        "woocommerce", FakeWooCommerce, {"consumer_key": "ck_1", "consumer_secret": "cs_1"},
        {"site": "https://shop.example.com"},
    ),
    Kind("mautic", FakeMautic, {"user": "api", "password": "pass-1"}, {"site": "https://m.example.com"}, tags=True),
    Kind(
        "espocrm", FakeEspoCrm, {"api_key": "key-1"}, {"site": "https://espo.example.com"}, prefix="cTierwise",
        at_once=1,
    ),
    Kind(
        "segment", FakeSegment, {"write_key": "key-1", "profile_token": "token-1"}, {"space_id": "spa_1"},
        knows_absence=False,
    ),
]  # fmt: skip
