"""Requests come in at the web server's own door for webhooks, past everything that other pages go through."""

from __future__ import annotations

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import Client

from crm_integration.wsgi import webhooks_first


def _elsewhere(environ, start_response):
    raise AssertionError(f"{environ['PATH_INFO']} is no webhook")


class _Door:
    """What stands behind a test client: the WSGI application instead of Django's handler."""

    def __init__(self):
        self.application = webhooks_first(_elsewhere)

    def __call__(self, environ):
        said = []
        content = b"".join(self.application(environ, lambda status, headers: said.append((status, headers))))
        [(status, headers)] = said
        answer = HttpResponse(content, status=int(status.split()[0]), headers=dict(headers))
        answer.wsgi_request = WSGIRequest(environ)
        return answer


@pytest.fixture
def client():
    made = Client()
    made.handler = _Door()
    return made
