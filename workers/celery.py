"""The Celery application: `celery -A workers.celery worker`. What each job needs stands in workers/queues.py."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", os.environ.get("POLARS_MAX_THREADS", "2"))

import django
from celery import Celery
from celery.signals import worker_process_shutdown
from django.apps import apps
from django.conf import settings
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from segmentation import jobs
from workers import queues, schedule, sessions

if not apps.ready:  # under the celery command; its transport needs the models
    django.setup()
TRANSPORT_ALIASES["embedded"] = "workers.transport:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "workers.redis_transport:Transport"

app = Celery("tierwise")
_broker = settings.CELERY_BROKER_URL
_is_amqp = _broker.startswith(("amqp", "pyamqp"))
_is_redis = _broker.startswith("redis")
# Over a worker's own options. A worker may wait for a Redis that saves to disk; a request that nudges may not.
NUDGE_OPTIONS = {"socket_timeout": 1} if _is_redis else {}
# A connection whose other end is gone without a word is noticed after two to three of these seconds.
PULSE_SECONDS = 6


def _queue(name: str) -> Queue:
    """RabbitMQ gets quorum queues: a message is on disk before it is confirmed, and endless redelivery stops."""
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 5} if _is_amqp else None
    full = queues.full_name(name)
    exchange = Exchange(full, type="direct", durable=True)
    return Queue(full, exchange, routing_key=full, queue_arguments=arguments)


def _transport_options() -> dict[str, object]:
    if _is_amqp:
        return {"confirm_publish": True, "max_retries": 1, "interval_start": 0, "interval_max": 0.2}
    if _is_redis:
        # Longer than any late-acknowledged job may run, or Redis hands it to a second worker.
        longest = max(policy.hard_limit for policy in queues.POLICIES.values() if policy.late)
        return {
            "visibility_timeout": longest + 60,
            "socket_connect_timeout": 1,
            "socket_timeout": 5,
            "health_check_interval": PULSE_SECONDS,
        }
    return {}


app.conf.update(
    # A host name only silences a warning; the embedded broker has none.
    broker_url="embedded://database" if _broker.startswith("embedded") else _broker,
    broker_connection_timeout=1,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_heartbeat=PULSE_SECONDS,
    broker_transport_options=_transport_options(),
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_create_missing_queues=False,
    task_default_queue=queues.full_name("default"),
    task_queues=[_queue(name) for name in queues.QUEUES],
    task_routes={
        job.value: {"queue": queues.full_name(policy.queue)} for job, policy in queues.POLICIES.items()
    },
    worker_consumer="workers.task_consumer:Consumer",
    worker_prefetch_multiplier=1,
    worker_concurrency=int(os.environ.get("CONCURRENCY", "2")),
    worker_max_tasks_per_child=500,
    worker_max_memory_per_child=1_500_000,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    timezone="UTC",
    # In memory: nothing is scheduled that a second beat, or a beat that forgot, could do twice.
    beat_scheduler="workers.beat:Scheduler",
    beat_max_loop_interval=5,
    beat_schedule=schedule.BEAT,
    imports=["workers.tasks"],
)
sessions.keep(app)


@worker_process_shutdown.connect
def _send_gathered(**_told: object) -> None:
    """A pool child ends without what Python does at an exit."""
    jobs.send_gathered()
