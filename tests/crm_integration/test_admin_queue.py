"""The message broker on a connection's page and form."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from crm_integration.models import Connection, QueueStatus
from tests.crm_integration import fixtures

pytestmark = pytest.mark.django_db


@pytest.fixture
def with_broker(settings):
    settings.CELERY_BROKER_URL = "amqp://nobody@127.0.0.1:1//"
    settings.CELERY_QUEUE_PREFIX = "acme."


def page(connection):
    return reverse("admin:crm_integration_connection_change", args=[connection.pk])


def shown(client, connection):
    return client.get(page(connection)).content.decode()


def save(client, connection, **changes):
    fields = {
        "name": "Shop",
        "adapter": connection.adapter,
        "is_active": "on",
        "outbound_via": "http",
        **changes,
    }
    answer = client.post(page(connection), fields)
    connection.refresh_from_db()
    return answer


def errors(answer):
    return answer.context["adminform"].form.errors


def test_with_the_embedded_broker_the_page_says_that_there_is_no_queue_door(
    admin_client, connection, settings
):
    settings.CELERY_BROKER_URL = "embedded://"
    assert "There is no queue door here" in shown(admin_client, connection)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reads_queue": "on"}, "reads_queue"),
        ({"sends_outbound": "on", "outbound_via": "exchange"}, "outbound_via"),
    ],
)
def test_with_the_embedded_broker_nothing_of_it_can_be_switched_on(
    admin_client, connection, settings, changes, field
):
    settings.CELERY_BROKER_URL = "embedded://"
    assert field in errors(save(admin_client, connection, **changes))
    assert (connection.reads_queue, connection.sends_outbound) == (False, False)


def test_the_page_shows_the_queue_and_how_it_is_doing(admin_client, with_broker):
    connection = fixtures.connection(reads_queue=True)
    assert "No consumer is reading" in shown(admin_client, connection)
    QueueStatus.objects.create(connection=connection, seen_at=timezone.now(), waiting=4321, parked=8765)
    text = shown(admin_client, connection)
    for part in ("acme.tierwise.in.shop", "acme.tierwise.in.shop.dead", "4321", "8765"):
        assert part in text
    assert "No consumer is reading" not in text


def test_the_page_tells_what_the_broker_refuses(admin_client, with_broker):
    connection = fixtures.connection(reads_queue=True)
    QueueStatus.objects.create(connection=connection, seen_at=timezone.now(), problem="ACCESS_REFUSED")
    assert "The broker refuses this queue: ACCESS_REFUSED" in shown(admin_client, connection)


def test_the_page_shows_the_exchange_and_how_to_bind(admin_client, with_broker):
    connection = fixtures.connection(sends_outbound=True, outbound_via="exchange")
    text = shown(admin_client, connection)
    assert "acme.tierwise.decisions" in text
    assert "*.*.shop" in text
    assert "Needs a secret" not in text


def test_staff_switch_the_queue_and_the_exchange_on(admin_client, with_broker, connection):
    answer = save(
        admin_client, connection, reads_queue="on", queue_must_sign="on", may_start_jobs="on",
        job_topics='{"bulk.loaded": "import.finished"}', sends_outbound="on", outbound_via="exchange",
    )  # fmt: skip
    assert answer.status_code == 302
    assert (connection.reads_queue, connection.may_start_jobs) == (True, True)
    assert connection.job_topics == {"bulk.loaded": "import.finished"}
    assert (connection.outbound_via, connection.outbound_url) == (Connection.Via.EXCHANGE, "")


def test_jobs_by_an_unsigned_queue_are_refused(admin_client, with_broker, connection):
    assert "queue_must_sign" in errors(save(admin_client, connection, reads_queue="on", may_start_jobs="on"))


@pytest.mark.parametrize("topics", ['{"a": "nothing.known"}', '["a"]', '{"a": ["import.finished"]}', "{"])
def test_topics_that_mean_nothing_are_refused(admin_client, with_broker, connection, topics):
    assert "job_topics" in errors(save(admin_client, connection, job_topics=topics))


def test_a_web_address_is_still_needed_where_deliveries_go_by_http(admin_client, with_broker, connection):
    assert "outbound_url" in errors(save(admin_client, connection, sends_outbound="on"))
