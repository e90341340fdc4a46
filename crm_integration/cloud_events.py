"""CloudEvents 1.0 as messages carry them: structured (all in the body) or binary (attributes in headers).

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md. The attributes become the envelope of
docs/webhooks.md; whoever knows another format gets the data alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
# The HTTP binding says ce-; the AMQP binding cloudEvents: and, for brokers that refuse the colon, cloudEvents_.
PREFIXES = ("ce-", "ce_", "cloudevents:", "cloudevents_")
NEEDED = ("id", "source", "type")


class NotACloudEvent(ValueError):
    """It says it is one, and is not."""


@dataclass(frozen=True)
class CloudEvent:
    """`data` is a JSON object; `time` is empty where the event carries none."""

    id: str
    type: str
    time: str
    data: Mapping[str, Any]

    def envelope(self) -> bytes:
        """The event in our own format. The same event gives the same bytes, so that a repeat is known as one."""
        return orjson.dumps({"type": self.type, "timestamp": self.time, "data": self.data})

    def data_bytes(self) -> bytes:
        return orjson.dumps(self.data)


def read(body: bytes, *, headers: Mapping[str, str], content_type: str) -> CloudEvent | None:
    """The event of a message, or None when the message is no CloudEvent. Header names are lower-case.

    Raises NotACloudEvent.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == BATCH:
        raise NotACloudEvent("batches are not taken")
    if kind == STRUCTURED:
        content = _object(body)
        return _event(content, _data(content))
    attributes = _attributes(headers)
    if "specversion" not in attributes:
        return None
    return _event(attributes, _object(body))


def _attributes(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in headers.items()
        for prefix in PREFIXES
        if name.startswith(prefix)
    }


def _event(attributes: Mapping[str, Any], data: Mapping[str, Any]) -> CloudEvent:
    if attributes.get("specversion") != "1.0":
        raise NotACloudEvent("the version is not 1.0")
    given = {name: attributes.get(name) for name in NEEDED}
    if not all(isinstance(value, str) and value for value in given.values()):
        raise NotACloudEvent("id, source or type is missing")
    time = attributes.get("time") or ""
    if not isinstance(time, str):
        raise NotACloudEvent("the time is not text")
    return CloudEvent(str(given["id"]), str(given["type"]), time, data)


def _data(content: Mapping[str, Any]) -> Mapping[str, Any]:
    if "data_base64" not in content:
        return _mapping(content.get("data"))
    try:
        return _object(base64.b64decode(content["data_base64"], validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise NotACloudEvent("data_base64 is not base64 of JSON") from error


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise NotACloudEvent("not JSON") from error


def _mapping(content: Any) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise NotACloudEvent("not a JSON object")
    return content
