"""A message whose processing lost the database is processed within seconds, not after the waits of one that fails."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from crm_integration import inbox
from crm_integration.models import InboundMessage
from segmentation.models import Event
from tests.crm_integration.fixtures import order
from tests.crm_integration.test_inbox import receive
from tests.support.outages import lose_the_session, postgresql

pytestmark = pytest.mark.django_db(transaction=True)
SOON = timedelta(seconds=20)


@postgresql
@pytest.mark.parametrize("alone", [True, False])
def test_a_message_that_lost_the_database_comes_again_soon_each_time(connection, monkeypatch, alone):
    def broken(*_args, **_kwargs):
        lose_the_session()
        Event.objects.count()

    key = receive(connection, order())
    with monkeypatch.context() as patch:
        patch.setattr("segmentation.ingest.record_events", broken)
        patch.setattr("segmentation.ingest.record_messages", broken)
        for _time in range(inbox.MAX_ATTEMPTS):
            inbox.process(key) if alone else inbox.process_due(seconds=0.1)
            message = InboundMessage.objects.get()
            assert message.state == "queued"
            assert message.run_after < timezone.now() + SOON
            InboundMessage.objects.update(run_after=F("run_after") - SOON)
    inbox.process(key)
    assert InboundMessage.objects.get().state == "done"
    assert Event.objects.count() == 1
