"""The examples of docs/webhooks.md are what the doors take and give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from crm_integration import inbox
from crm_integration.adapters.standard_events import TOPICS
from crm_integration.models import InboundMessage
from tests.crm_integration.fixtures import deliver

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.django_db
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_each_example_is_recorded_without_a_rejection(client, connection, example):
    message_id = deliver(client, connection, example).json()["id"]
    inbox.process(message_id)
    message = InboundMessage.objects.get()
    assert (message.outcome, message.detail["rejected"]) == ("recorded", 0)


def test_every_topic_is_described():
    described = set(re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE))
    assert set(TOPICS) <= described


@pytest.mark.django_db
def test_the_python_example_signs_what_the_door_accepts(client, connection, monkeypatch):
    def post(url, *, data, headers, timeout):
        content_type = headers.pop("content-type")
        return client.post(url, data=data, content_type=content_type, headers=headers)

    monkeypatch.setattr(requests, "post", post)
    names: dict = {}
    exec(PYTHON[0], names)
    answer = names["send"](f"/hooks/{connection.slug}/", connection.inbound_secret, "m-1", EXAMPLES[0])
    assert answer.status_code == 202


def test_the_receiving_example_opens_what_we_sign():
    import time

    from crm_integration import signatures

    names: dict = {}
    exec(PYTHON[1], names)
    secret, body = signatures.generate_secret(), b'{"type": "decision.made"}'
    signed = signatures.headers([secret], message_id="m", timestamp=int(time.time()), body=body)
    assert names["decision"](secret, body, signed) == {"type": "decision.made"}
