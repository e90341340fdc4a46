"""Asking a vendor's API for records and writing to them: JSON in, JSON out, with the vendor's rate limits honoured."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
from django.utils.translation import gettext as _

from crm_integration import http
from crm_integration.http import Answer, DeliveryError
from crm_integration.models import Connection

# A wait this short is sat out here; a longer one gives the work back until then.
SHORT_WAIT = timedelta(seconds=10)
TRIES = 3
NOT_FOUND = frozenset({404, 410})
NOT_ALLOWED = frozenset({401, 402, 403})
TOO_MANY = 429
# A write answers soon, and the task that makes it has to end.
WRITING = http.Limits(total=25)


def _asked(answer: Answer) -> timedelta | None:
    return answer.retry_after


@dataclass(frozen=True)
class Api:
    """Where a vendor's API is and how we sign in there. `root` has no slash at its end.

    `asked_wait`: how long a refusal for too many requests asks to wait, where it says so elsewhere than in Retry-After.
    """

    root: str
    headers: Mapping[str, str]
    sleep: Callable[[float], None] = time.sleep
    asked_wait: Callable[[Answer], timedelta | None] = _asked

    def get(self, path: str, **query: object) -> Answer | None:
        """The answer, None where there is no such record. Raises DeliveryError (see `_checked`)."""
        given = [(name, value) for name, value in query.items() if value is not None]
        address = f"{self.root}{path}"
        return self._ask("GET", f"{address}?{urlencode(given, doseq=True)}" if given else address, None)

    def post(self, path: str, content: Any) -> Answer | None:
        return self._ask("POST", f"{self.root}{path}", orjson.dumps(content))

    def get_list(self, path: str, **query: object) -> Answer:
        """The answer of a list of records, which is there even while it is empty. Raises DeliveryError."""
        return self._there(path, self.get(path, **query))

    def post_list(self, path: str, content: Any) -> Answer:
        return self._there(path, self.post(path, content))

    def write(self, path: str, content: Any, *, method: str = "POST") -> Answer:
        """The answer to a write, also where it says no to what was written (4xx): the caller knows whose that is.

        Raises DeliveryError for refused credentials, too many requests and a CRM that cannot answer now.
        """
        answer = self._patiently(method, f"{self.root}{path}", orjson.dumps(content), WRITING)
        if answer.status in NOT_ALLOWED or answer.status == TOO_MANY or not 200 <= answer.status < 500:
            self._checked(answer)
        return answer

    def _there(self, path: str, answer: Answer | None) -> Answer:
        if answer is None:
            raise DeliveryError(
                _(
                    "There is no list of records at %(address)s. Check the address of the CRM on the connection's "
                    "page, and that its API is switched on."
                )
                % {"address": f"{self.root}{path}"},
                permanent=True,
            )
        return answer

    def _ask(self, method: str, url: str, body: bytes | None) -> Answer | None:
        return self._checked(self._patiently(method, url, body, http.Limits(total=60)))

    def _patiently(self, method: str, url: str, body: bytes | None, limits: http.Limits) -> Answer:
        """Short waits that the CRM asks for are sat out."""
        headers = {"Accept": "application/json", **self.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        for last in (*[False] * (TRIES - 1), True):
            answer = http.fetch(url, method=method, headers=headers, body=body, limits=limits)
            wait = self.asked_wait(answer) or timedelta(seconds=1)
            if answer.status != TOO_MANY or last or wait > SHORT_WAIT:
                break
            self.sleep(wait.total_seconds())
        return answer

    def _checked(self, answer: Answer) -> Answer | None:
        if answer.status == TOO_MANY:
            raise DeliveryError(_("The CRM asks us to come back later."), retry_after=self.asked_wait(answer))
        return _checked(answer)


def _checked(answer: Answer) -> Answer | None:
    if answer.is_success:
        return answer
    if answer.status in NOT_FOUND:
        return None
    if answer.status in NOT_ALLOWED:
        raise DeliveryError(
            _("The CRM refused our credentials (%(status)d). Check the key and what it may read.")
            % {"status": answer.status},
            permanent=True,
        )
    raise DeliveryError(
        _("The CRM answered %(status)d instead of records.") % {"status": answer.status},
        retry_after=answer.retry_after,
    )


def content(answer: Answer) -> Any:
    """The JSON of an answer; DeliveryError when it is something else, such as the page of a login."""
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise DeliveryError(_("The CRM did not answer with JSON; check the address.")) from error


def rows(found: Any, *path: str) -> list[dict[str, Any]]:
    """The list of records under `path`; DeliveryError when the answer has another shape."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, dict):
        # PHP writes a list with keys as an object.
        found = list(found.values())
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DeliveryError(_("The CRM answered with something else than a list of records."))
    return found


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def credentials(connection: Connection, *names: str) -> list[str]:
    """What staff entered under these names. Raises DeliveryError where one is empty."""
    found = [connection.credentials.get(name, "") for name in names]
    if not all(found):
        raise DeliveryError(
            _("No API credentials are set for this connection; enter them on its page."), permanent=True
        )
    return found
