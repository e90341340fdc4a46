"""`make faults`: everything that attacks the product, one after another, with one summary at the end.

    python -m tests.faults [--short] [--only storm …] [--minutes 60] [--cells sqlite …]

The attacks on the doors, the broken products that must be found out, the tests of single promises, and the storm of
tests/chaos over its cells; each can be run alone, and the storm goes on where it was left. SHORT runs those tests of
`make test` that attack: a twentieth of the attacks, the broken products, and the storm once, on SQLite with the embedded
broker and on PostgreSQL with RabbitMQ where they answer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos import processes

ROOT = Path(__file__).resolve().parents[1]
STORM_MINUTES = 60.0
# Each must be red without the rule that it breaks; the tests are green when it is.
MUTANTS = (
    "tests/chaos/test_oracle.py",
    "tests/attacks/test_attacks.py::test_a_signature_over_parsed_json_is_found_out",
    "tests/attacks/test_attacks.py::test_a_connection_that_is_trusted_for_ever_is_found_out",
    "tests/attacks/test_attacks.py::test_a_naive_look_at_addresses_is_found_out",
    "tests/workers/test_publisher.py::test_without_confirms_what_the_broker_never_got_would_count_as_delivered",
)
PROMISES = (
    "tests/crm_integration/adapters",
    "tests/crm_integration/test_order_of_arrival.py",
    "tests/crm_integration/test_upgrade.py",
    "tests/workers/test_clocks.py",
    "tests/crm_integration/test_webhook_door.py",
    "tests/crm_integration/test_outbox.py",
    "tests/crm_integration/test_http.py",
    "tests/crm_integration/api/test_routes.py",
    "tests/crm_integration/api/test_schema.py",
    "tests/config/test_every_route.py",
)
# Requests an operation of the interface, by the token that may do everything; customers whose updates overtake.
COUNTS = {"API_EXAMPLES": "500", "ORDER_MACHINES": "500"}
# What attacks among the tests.
ATTACKING = (
    "tests/attacks",
    "tests/chaos",
    "tests/crm_integration/test_order_of_arrival.py",
    "tests/crm_integration/test_upgrade.py",
    "tests/workers/test_clocks.py",
    "tests/workers/test_publisher.py",
)
SERVERS = {
    "DATABASE_URL": os.environ.get("CI_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
    "CELERY_BROKER_URL": os.environ.get("CI_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}


@dataclass
class Step:
    name: str
    command: list[str]
    environment: dict[str, str]
    code: int = -1
    seconds: float = 0.0

    def run(self) -> None:
        print(f"\n=== {self.name}", flush=True)
        started = time.monotonic()
        self.code = subprocess.run(self.command, cwd=ROOT, env={**os.environ, **self.environment}).returncode
        self.seconds = time.monotonic() - started


def main() -> int:
    options = _arguments()
    steps = _steps(options)
    for step in steps:
        step.run()
    print("\n| Step | Result | Minutes |\n|---|---|---|")
    for step in steps:
        result = "green" if step.code == 0 else f"RED ({step.code})"
        print(f"| {step.name} | {result} | {step.seconds / 60:.1f} |")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return max(abs(step.code) for step in steps)


def _steps(options: argparse.Namespace) -> list[Step]:
    if options.short:
        return _short()
    chosen = ["--cells", *options.cells] if options.cells else []
    steps = {
        "attacks": Step("attacks on the doors", _python("-m", "tests.attacks"), {}),
        "mutants": Step("broken products that must be found out", _pytest(*MUTANTS), {}),
        "promises": Step("single promises", _pytest(*PROMISES), COUNTS),
        "storm": Step(
            "kill, cut, stop and fill, cell by cell",
            _python("-m", "tests.chaos", "--minutes", str(options.minutes), *chosen),
            {},
        ),
    }
    return [steps[name] for name in options.only or steps]


def _short() -> list[Step]:
    together = _pytest("-n", "2", "--dist", "loadfile", *ATTACKING)
    steps = [Step("SQLite, embedded broker", [*together, "-m", "not services"], {})]
    if all(processes.answers(urlsplit(url).port or 0) for url in SERVERS.values()):
        steps.append(Step("PostgreSQL, RabbitMQ", [*together, "--needs-database"], SERVERS))
    return steps


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _pytest(*tests: str) -> list[str]:
    return _python("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--short", action="store_true")
    arguments.add_argument(
        "--only", nargs="+", default=[], choices=("attacks", "mutants", "promises", "storm")
    )
    arguments.add_argument(
        "--minutes", type=float, default=STORM_MINUTES, help="of the storm, for all cells together"
    )
    arguments.add_argument("--cells", nargs="+", default=[])
    return arguments.parse_args()


if __name__ == "__main__":
    sys.exit(main())
