"""Telling Twilio Segment by the HTTP Tracking API: traits by identify, what happened by track; reading traits back.

twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api: a batch takes at most 500 kB and 32 kB an
event, else 400; every other request is answered with 200, a wrong write key included; messageId makes repeats one;
workspaces in the EU have their own host. Traits are read back by the Profile API (…/docs/segment/unify/profile-api),
which not every plan has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
from django.utils.translation import gettext as _

from crm_integration import fetching
from crm_integration.adapters.pushing import DONE, Names, Outcomes, Values, Write, in_parts, refused
from crm_integration.http import DeliveryError

# A little below the limits of 500 kB and 32 kB.
MOST_BYTES = 480_000
MOST_EVENT_BYTES = 31_000
# Our own events are known by the start of their messageId when they come back through a destination.
MARK = "tierwise-"
EVENT = "Tierwise Customer Classified"


def push(api: fetching.Api, writes: Sequence[Write], *, now: datetime) -> Outcomes:
    prepared = {write.key: [orjson.dumps(event) for event in _events(write, now)] for write in writes}
    too_large = {
        key for key, events in prepared.items() if any(len(one) > MOST_EVENT_BYTES for one in events)
    }
    fitting = [write for write in writes if write.key not in too_large]
    outcomes: Outcomes = {key: refused(_("the event is larger than Segment takes")) for key in too_large}
    return outcomes | in_parts(_chunks(fitting, prepared), lambda part: _send(api, part, prepared))


def read_back(api: fetching.Api, references: Sequence[str], *, names: Names) -> dict[str, Values]:
    """`api` is that of the profiles. A person whom Segment does not know is left out."""
    held = {}
    for reference in references:
        path = f"/collections/users/profiles/user_id:{quote(reference, safe='')}/traits"
        answer = api.get(path, limit=200, include=",".join(names.all_fields))
        content = fetching.content(answer) if answer is not None else None
        if isinstance(content, dict):
            told = content.get("traits")
            traits = told if isinstance(told, dict) else {}
            held[reference] = Values({name: str(traits.get(name) or "") for name in names.all_fields})
    return held


def _events(write: Write, now: datetime) -> list[dict[str, Any]]:
    """Traits that changed, and one event with what was decided. An emptied trait is null."""
    common = {"userId": write.reference, "timestamp": now.astimezone(UTC).isoformat()}
    traits = {name: value or None for name, value in write.fields.items()}
    whole = {name: value or None for name, value in write.values.fields.items()}
    return [
        {**common, "type": "identify", "messageId": f"{MARK}{write.message_id}-identify", "traits": traits},
        {
            **common,
            "type": "track",
            "event": EVENT,
            "messageId": f"{MARK}{write.message_id}-track",
            "properties": whole,
        },
    ]


def _chunks(writes: Sequence[Write], prepared: Mapping[int, list[bytes]]) -> Iterator[Sequence[Write]]:
    chunk: list[Write] = []
    size = 0
    for write in writes:
        more = sum(len(event) + 1 for event in prepared[write.key])
        if chunk and size + more > MOST_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(write)
        size += more
    if chunk:
        yield chunk


def _send(api: fetching.Api, part: Sequence[Write], prepared: Mapping[int, list[bytes]]) -> Outcomes:
    events = [orjson.loads(event) for write in part for event in prepared[write.key]]
    answer = api.write("/v1/batch", {"batch": events})
    if answer.is_success:
        return {write.key: DONE for write in part}
    if answer.status == 400 and len(part) == 1:
        return {part[0].key: refused(answer.body.decode("utf-8", "replace"))}
    if answer.status == 400:
        middle = len(part) // 2
        return in_parts([part[:middle], part[middle:]], lambda half: _send(api, half, prepared))
    raise DeliveryError(
        _("The CRM answered with an error (%(status)d): %(text)s")
        % {"status": answer.status, "text": answer.body.decode("utf-8", "replace")[:160]}
    )
