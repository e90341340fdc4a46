"""The steps of the demo, in order. Each looks first whether it is done already, so a second run resumes."""

from __future__ import annotations

import json
import os
import secrets
from datetime import date
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db.models import Max
from django.utils import timezone

from crm_integration import connections
from crm_integration import roles as door_roles
from crm_integration.connections import Door
from crm_integration.models import Connection
from segmentation import imports, roles, scoring_runs, simulator, starter, targets, training_runs
from segmentation.imports import presets
from segmentation.imports.mapping import event_mapping
from segmentation.models import Event, ImportRun, LeaseState, ModelSlot, ScoringRun, Shop, TrainingRun
from workers.demo.processes import DemoError, Process
from workers.demo.progress import Steps, follow

CUSTOMERS = 20_000
MONTHS = 24
SEED = 1
USERNAME = "demo"
CONNECTION = "demo"
FOLDER = settings.VAR_DIR / "demo"


def migrate(steps: Steps) -> None:
    with steps.step("Preparing the database"):
        call_command("migrate", verbosity=0, interactive=False)


def login() -> tuple[str, str]:
    """The demo's superuser and password; made once, kept in a private file so that a second run can print it."""
    path = FOLDER / "login.json"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            json.dump({"username": USERNAME, "password": secrets.token_urlsafe(12)}, handle)
    stored = json.loads(path.read_text())
    user, created = get_user_model().objects.get_or_create(
        username=stored["username"], defaults={"is_staff": True, "is_superuser": True}
    )
    if created or not user.check_password(stored["password"]):
        user.set_password(stored["password"])
        user.save()
    return stored["username"], stored["password"]


def simulate(steps: Steps, customers: int) -> Path:
    """A simulated shop up to today; an existing one is used as it is."""
    folder = FOLDER / "shop"
    if (folder / "manifest.json").exists():
        steps.skip("Simulating a shop", "already there")
        return folder
    config = simulator.SimulationConfig(
        customers=customers, months=MONTHS, seed=SEED, end=timezone.now().date()
    )
    with steps.step("Simulating a shop") as bar:
        simulator.simulate(
            config, folder, on_progress=lambda done, total: bar.update(done / total, f"{done:,} customers")
        )
    return folder


def import_file(steps: Steps, name: str, request: imports.Request) -> None:
    """Import a file; one that came in whole and has not changed since is not read again."""
    if _is_imported(request):
        steps.skip(name, "already there")
        return
    with steps.step(name) as bar:
        report = imports.run(request, on_progress=bar.update)
    steps.console.print(f"  [dim]{report.sentence()}")


def _is_imported(request: imports.Request) -> bool:
    done = ImportRun.objects.filter(state=LeaseState.DONE, mapping=request.as_json()).last()
    if done is None or done.finished_at is None or not request.path.exists():
        return False
    return request.path.stat().st_mtime < done.finished_at.timestamp()


def adopt_file_defaults(request: imports.Request) -> None:
    """A new installation takes over the currency and time zone that the file's preset or mapping names."""
    if Event.objects.exists():
        return
    said = presets.events(request.preset) if request.preset else event_mapping(request.mapping or {})
    shop = Shop.get()
    shop.base_currency, shop.time_zone = said.currency or shop.base_currency, said.time_zone or shop.time_zone
    shop.save(update_fields=["base_currency", "time_zone"])


def stop_the_clock(steps: Steps) -> None:
    """A file of past orders: its last day is today, or every customer would be long gone."""
    shop = Shop.get()
    last = Event.objects.aggregate(last=Max("occurred_at"))["last"]
    if last is None:
        raise DemoError("the file has no order of a known customer, so there is nothing to learn from.")
    day: date = last.astimezone(shop.zone).date()
    if (shop.today() - day).days > 30:
        shop.frozen_on = day
        shop.save(update_fields=["frozen_on"])
        steps.console.print(f"  [dim]The file ends on {day}; the shop's clock stands still on that day.")


def install_defaults(steps: Steps) -> None:
    with steps.step("Targets, segments, offers and roles"):
        targets.install()
        starter.install()
        roles.install()
        door_roles.install()


def train(steps: Steps, worker: Process) -> None:
    wanted = targets.install()
    if not ModelSlot.objects.filter(target__in=wanted, champion=None).exists() and ModelSlot.objects.exists():
        steps.skip("Training", "champions are already there")
        return
    active = TrainingRun.objects.filter(run_targets__is_active=True).first()
    run = active or training_runs.request(wanted, seed=SEED)

    def look() -> tuple[float, str, bool]:
        run.refresh_from_db()
        return run.progress, run.progress_note, run.is_over

    with steps.step("Training") as bar:
        follow(bar, look, alive=worker.check)
    if run.state != LeaseState.DONE:
        raise DemoError(f"training ended as {run.state}: {run.error}")


def classify(steps: Steps, worker: Process) -> ScoringRun:
    as_of = Shop.get().scoring_as_of()
    done = ScoringRun.objects.filter(as_of=as_of, state=ScoringRun.State.DONE).last()
    if done is not None:
        steps.skip("Classifying", f"done for {as_of}")
        return done
    run = ScoringRun.objects.filter(state=ScoringRun.State.RUNNING).last() or scoring_runs.start()

    def look() -> tuple[float, str, bool]:
        run.refresh_from_db()
        progress = scoring_runs.progress(run)
        return progress, f"{run.customers:,} customers", run.state != ScoringRun.State.RUNNING

    with steps.step("Classifying") as bar:
        follow(bar, look, alive=worker.check)
    if run.state != ScoringRun.State.DONE:
        raise DemoError(f"classification ended as {run.state}: {run.error}")
    return run


def connect(receiver_url: str) -> Connection:
    """The demo's connection: receives signed events, and sends decisions to the demo's own receiver."""
    connection, created = Connection.objects.get_or_create(
        slug=CONNECTION, defaults={"name": "Demo CRM", "adapter": "standard"}
    )
    if created:
        connections.set_secret(connection, Door.INBOUND)
        connections.set_secret(connection, Door.OUTBOUND)
    connection.refresh_from_db()
    connection.outbound_url, connection.sends_outbound = receiver_url, True
    connection.save(update_fields=["outbound_url", "sends_outbound"])
    return connection


def environment(receiver_pair: str, *, port: int) -> dict[str, str]:
    """What the demo's processes need besides: the one private address that deliveries may reach, and where they are."""
    return {"SITE_URL": f"http://127.0.0.1:{port}", "OUTBOUND_ALLOW": receiver_pair, **_given("SITE_URL")}


def _given(name: str) -> dict[str, str]:
    """What the operator said counts, such as the address of a tunnel."""
    return {name: os.environ[name]} if os.environ.get(name) else {}
