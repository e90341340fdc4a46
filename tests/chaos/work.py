"""What staff would do in the admin, in a process of its own: one JSON command a line in, one JSON answer a line out.

`python -m tests.chaos.work` uses the product's own services, so that nothing is started by a back door.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# The smallest training that still trains everything.
QUICK = {"epochs": 2, "boosting_rounds": 10, "hidden": [16], "ensemble": 1, "rounds": 20}
ENDLESS = {**QUICK, "epochs": 5000, "patience": 5000}
# A task that is no more; more, other and fewer arguments than now; a value of another kind.
OLD_MESSAGES: tuple[tuple[str, list[Any], dict[str, Any]], ...] = (
    ("inbound.process_message", [7], {}),
    ("inbound.process", [7, "shop"], {}),
    ("inbound.process", [], {"inbound_id": 7}),
    ("score.run_shard", [], {}),
    ("outbound.deliver", [], {"message_id": "decision_7"}),
)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    from django.db import connection

    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"answer": COMMANDS[name](*arguments)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        connection.close()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def import_file(name: str, content: str) -> int:
    """Queue the import of an uploaded file; other machines fetch it from the database."""
    from django.conf import settings

    from segmentation import imports, stored_files

    path = Path(settings.VAR_DIR) / "uploads" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    stored_files.keep(path)
    return imports.request_run(imports.Request(path, preset="tierwise")).pk


def train(settings: dict[str, Any]) -> int:
    from segmentation import targets, training_runs

    return training_runs.request(targets.active(), preset="fast", config=settings).pk


def cancel_training(run_id: int) -> bool:
    from segmentation import training_runs
    from segmentation.models import TrainingRun

    return training_runs.request_cancel(TrainingRun.objects.get(pk=run_id))


def classify() -> int:
    from segmentation import scoring_runs

    return scoring_runs.start().pk


def send_old_messages() -> None:
    """What an older version may have left in every queue: names, arguments and formats that nobody knows now."""
    from workers import queues
    from workers.celery import app

    for queue in map(queues.full_name, queues.QUEUES):
        for name, arguments, named in OLD_MESSAGES:
            app.send_task(name, args=arguments, kwargs=named, queue=queue)
        with app.producer_pool.acquire(block=True) as producer:
            producer.publish({"job": 7}, routing_key=queue, exchange=queue, serializer="json")
            producer.publish(
                b"\x80\x04.", routing_key=queue, exchange=queue, content_type="application/x-pickle"
            )


def forget_event_key() -> None:
    """Drop the key under which a fact is stored once: what a schema without it would let through."""
    from django.db import connection

    from segmentation.models import Event

    key = next(key for key in Event._meta.constraints if key.name == "event_is_stored_once")
    Event._meta.constraints = [other for other in Event._meta.constraints if other is not key]
    with connection.schema_editor() as editor:
        editor.remove_constraint(Event, key)


def recompute() -> list[str]:
    """Work everybody out again, alone, and undo it: whose headline or decision is not what their events say?"""
    from django.db import transaction

    from segmentation import scoring
    from segmentation.models import Customer, Decision

    columns = ("reference", "orders", "spent_minor", "priority", "current_offer_id")
    people = Customer.objects.filter(merged_into__isnull=True, scored_as_of__isnull=False).order_by("pk")
    wrong = []
    with transaction.atomic():
        before = list(people.values_list("pk", *columns))
        newest = Decision.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        scoring.score_customers([row[0] for row in before], scoring.pin(), cause=Decision.Cause.BATCH)
        after = {row[0]: row for row in people.values_list("pk", *columns)}
        wrong += [
            f"{row[1]} stands as {row[2:]}, its events say {after[row[0]][2:]}"
            for row in before
            if after[row[0]] != row
        ]
        changed = Decision.objects.filter(pk__gt=newest).values_list("customer__reference", flat=True)
        wrong += [f"the decision about {reference} does not follow from its events" for reference in changed]
        transaction.set_rollback(True)
    return wrong


COMMANDS = {
    function.__name__: function
    for function in (
        import_file,
        train,
        cancel_training,
        classify,
        send_old_messages,
        forget_event_key,
        recompute,
    )
}

if __name__ == "__main__":
    main()
