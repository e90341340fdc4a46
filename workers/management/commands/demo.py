"""`make demo`: from orders to decisions on one machine."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.panel import Panel

from crm_integration.demo_receiver import DemoReceiver
from segmentation.imports import ImportProblem, Request
from segmentation.imports.mapping import read_json
from segmentation.models import ImportRun
from segmentation.training_runs import TrainingError
from workers.demo import check, stages, summary
from workers.demo.processes import DemoError, Process, free_port, start_web, start_worker
from workers.demo.progress import Steps

LOOK_SECONDS = 1.0
NATIVE = "tierwise"


class Command(BaseCommand):
    help = (
        "Run the whole line: simulate a shop (or import your own file), train, classify, fill segments, decide offers "
        "and priorities, and start the web server and a worker on loopback. Run it again and it resumes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, help="a file of orders instead of the simulated shop")
        parser.add_argument(
            "--preset", default="", help="how the file's columns are named (see import_events)"
        )
        parser.add_argument(
            "--mapping", type=Path, help="a column mapping instead of a preset (see docs/importing.md)"
        )
        parser.add_argument(
            "--customers", type=int, default=stages.CUSTOMERS, help="size of the simulated shop"
        )
        parser.add_argument(
            "--check", action="store_true", help="prove that it works, print a summary and stop"
        )
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        self.console = Console()
        self.steps = Steps(self.console)
        self.running: list[Process | DemoReceiver] = []
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop what was started then, too
        try:
            self._run(options)
        except (DemoError, ImportProblem, TrainingError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.console.print("\nStopping.")
        finally:
            for started in reversed(self.running):
                started.stop()

    def _run(self, options: dict[str, Any]) -> None:
        if (options["preset"] or options["mapping"]) and not options["file"]:
            raise CommandError("--preset and --mapping describe a file: name it with FILE=orders.parquet.")
        port = free_port(0 if options["check"] else options["port"])
        began = time.monotonic()
        stages.migrate(self.steps)
        username, password = stages.login()
        self._import(options)
        stages.install_defaults(self.steps)
        receiver = DemoReceiver(log=stages.FOLDER / "deliveries.jsonl").start()
        self.running.append(receiver)
        environment = stages.environment(receiver.pair, port=port)
        worker = start_worker(stages.FOLDER / "worker.log", environment)
        self.running.append(worker)
        stages.train(self.steps, worker)
        stages.classify(self.steps, worker)
        connection = stages.connect(receiver.url)
        receiver.secret = connection.outbound_secret
        with self.steps.step("Starting the web server"):
            web = start_web(port, stages.FOLDER / "web.log", environment)
        self.running.append(web)
        site = f"http://127.0.0.1:{port}"
        if options["check"]:
            self._check(site, username, password, receiver, worker)
        self.steps.seconds["All"] = time.monotonic() - began
        summary.show(self.console, self.steps.seconds)
        if not options["check"]:
            self._stay(site, username, password, [worker, web])

    def _import(self, options: dict[str, Any]) -> None:
        if options["file"]:
            mapping = read_json(options["mapping"]) if options["mapping"] else None
            request = Request(path=options["file"], preset=options["preset"], mapping=mapping)
            stages.adopt_file_defaults(request)
            stages.import_file(self.steps, "Importing events", request)
            stages.stop_the_clock(self.steps)
            return
        shop = stages.simulate(self.steps, options["customers"])
        customers = Request(path=shop / "customers.parquet", kind=ImportRun.Kind.CUSTOMERS, preset=NATIVE)
        stages.import_file(self.steps, "Importing customers", customers)
        stages.import_file(
            self.steps, "Importing events", Request(path=shop / "events.parquet", preset=NATIVE)
        )

    def _check(
        self, site: str, username: str, password: str, receiver: DemoReceiver, worker: Process
    ) -> None:
        with self.steps.step("Visiting the admin's pages"):
            visits = check.visit_pages(check.sign_in(site, username, password), site)
        slowest = max(visits, key=lambda visit: visit.seconds)
        self.console.print(
            f"  [dim]{len(visits)} pages answered; slowest {slowest.path} {slowest.seconds:.2f} s"
        )
        with self.steps.step("Webhook to delivered decision"):
            reference = check.send_order(site, stages.connect(receiver.url))
            decision, seconds = check.wait_for_decision(receiver.received, reference, alive=worker.check)
        offer = decision["data"]["offer"]
        self.console.print(
            f"  [dim]the signed order of {reference} came back as a delivered decision after {seconds:.2f} s: "
            f"{offer['name'] if offer else 'no offer'}, priority {decision['data']['service_priority']['name']}"
        )

    def _stay(self, site: str, username: str, password: str, processes: list[Process]) -> None:
        lines = [
            f"[bold]{site}/admin/[/bold]", f"user      {username}", f"password  {password}", "",
            f"logs      {stages.FOLDER}", "Ctrl+C stops it; run it again and it resumes.",
        ]  # fmt: skip
        self.console.print(Panel("\n".join(lines), title="Tierwise is running", expand=False))
        while True:
            for process in processes:
                process.check()
            time.sleep(LOOK_SECONDS)
