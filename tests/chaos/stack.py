"""One installation in its own processes: a cell of database and broker, web, workers, beats, a shop and a receiver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

from tests.chaos import processes
from tests.chaos.brokers import Broker, Embedded, OwnRabbitMQ, RabbitMQ, Redis
from tests.chaos.clocks import Clock
from tests.chaos.disk import SmallDisk
from tests.chaos.journals import Journal, Order, Receiver, Shop
from tests.chaos.oracle import Oracle
from tests.chaos.points import Trap
from tests.chaos.processes import ROOT, Process, free_port, wait_for
from tests.chaos.servers import Postgres, Sqlite, Unavailable

# RabbitMQ twice: the server that runs here, whose failures a proxy plays, and a node of its own that can be killed.
OWN_NODE = "postgresql-own-rabbitmq"
CELLS = ("sqlite", "postgresql", "postgresql-rabbitmq", "postgresql-redis", OWN_NODE)
SETTLE_SECONDS = 300.0
CHAT_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """customers: with history, before the harness starts. champion: train one first, so that scoring uses models."""

    customers: int = 240
    champion: bool = False
    sabotage: tuple[str, ...] = ("small_steps",)
    shard_size: int = 80
    megabytes: int = 0  # of the disk under everything, if it is to be filled


@dataclass(frozen=True)
class Template:
    """A database with a small shop in it (SQLite's file, PostgreSQL's folder), its keys and its connection's secret."""

    path: Path
    keys: dict[str, str]
    secret: str


class Stack:
    """`template`: a prepared installation to start from; without it one is made, which takes a while."""

    def __init__(
        self,
        cell: str,
        folder: Path,
        *,
        seed: int,
        options: Options = Options(),
        template: Template | None = None,
    ) -> None:
        self.cell, self.folder, self.options = cell, folder, options
        self.random = Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.accepted, self.delivered = (
            Journal(folder / "accepted.jsonl"),
            Journal(folder / "delivered.jsonl"),
        )
        self.disk = SmallDisk(megabytes=options.megabytes) if options.megabytes else None
        self._place = self.disk.folder if self.disk else folder
        self.receiver = Receiver(self.delivered)
        self.trap = Trap(folder / "points")
        self.workers: dict[str, Process] = {}
        self.beats: list[Process] = []
        self._number = 0
        self._prefix = f"chaos-{os.getpid()}-{self.random.getrandbits(32):x}-"
        self.database = self._new_database(cell, template)
        try:
            self.broker = self._new_broker(cell)
        except Unavailable:
            self._stop_parts(self.database, self.disk, self.receiver)
            raise
        self._keys = template.keys if template else fresh_keys()
        secret = self._take(template) if template else self._prepare()
        self.port = free_port()
        self.web = processes.web(folder, self.environment("web"), self.port)
        self.shop = Shop(f"http://127.0.0.1:{self.port}/hooks/shop/", secret, self.accepted)
        self.staff = Staff(self.environment("web"), folder / "staff.log")
        self.oracle = Oracle(self.database, self.accepted, self.delivered)

    # --- Parts ------------------------------------------------------------------------------------
    def _new_database(self, cell: str, template: Template | None) -> Any:
        origin = template.path if template else None
        if cell == "sqlite":
            return Sqlite(self._place / "tierwise.sqlite3", origin)
        place = self.disk.folder if self.disk else None
        return Postgres(self.folder / "postgresql.log", place=place, origin=origin)

    def _new_broker(self, cell: str) -> Broker:
        if cell == OWN_NODE:
            return OwnRabbitMQ(self._prefix, self.folder)
        if cell.endswith("rabbitmq"):
            return RabbitMQ(self._prefix)
        if cell.endswith("redis"):
            return Redis(self.folder / "redis")
        return Embedded(self.database)

    def environment(self, name: str) -> dict[str, str]:
        """Of a process on a machine of its own: nothing is shared but the database, the broker and the keys."""
        # SQLite means one machine, whose processes share their data folder.
        place = self._place / ("var" if self.cell == "sqlite" else f"var-{name}")
        place.mkdir(exist_ok=True)
        return {
            **self._keys,
            "DATABASE_URL": self.database.url,
            "CELERY_BROKER_URL": self.broker.url,
            "CELERY_QUEUE_PREFIX": self._prefix,
            "TIERWISE_VAR": str(place),
            "OUTBOUND_ALLOW": self.receiver.pair,
            "SCORING_SHARD_SIZE": str(self.options.shard_size),
            "CHAOS_SABOTAGE": ",".join(self.options.sabotage),
            "CHAOS_POINTS": str(self.folder / "points"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DEVICE": "cpu",
        }

    def _prepare(self) -> str:
        command = [
            sys.executable, "-m", "tests.chaos.prepare", "--deliver-to", f"http://{self.receiver.pair}/",
            "--customers", str(self.options.customers), *(["--champion"] if self.options.champion else []),
        ]  # fmt: skip
        environment = {**os.environ, **self.environment("prepare")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    def _take(self, template: Template) -> str:
        self.database.execute(
            f"UPDATE crm_integration_connection SET outbound_url = 'http://{self.receiver.pair}/'"
        )
        return template.secret

    def as_template(self, path: Path) -> Template:
        """What `_prepare` made, copied to `path` for others to start from; call it before `start`."""
        self.database.copy(path)
        return Template(path, self._keys, self.shop.secret)

    def start(self, *, workers: int = 2, beats: int = 2, pool: int = 2) -> Stack:
        self.web.start()
        self.beats = [
            processes.beat(f"beat{number}", self.folder, self.environment("beat")).start()
            for number in range(beats)
        ]
        for _ in range(workers):
            self.join(pool=pool, wait=False)
        for worker in self.workers.values():
            self._ready(worker)
        wait_for(
            lambda: processes.answers(self.port), seconds=processes.START_SECONDS, what="the web answers"
        )
        return self

    def join(self, *, pool: int = 2, wait: bool = True, clock: Clock | None = None) -> Process:
        """A new worker on a machine of its own, whose clock may be wrong."""
        self._number += 1
        name = f"worker{self._number}"
        queues = ",".join(
            f"{self._prefix}{queue}"
            for queue in ("inbound", "score", "insight", "train", "outbound", "default")
        )
        worker = processes.worker(
            name, self.folder, {**self.environment(name), **(clock.environment if clock else {})},
            "-Q", queues, "-I", "tests.chaos.sabotage,tests.chaos.worker", pool=pool,
        ).start()  # fmt: skip
        self.workers[name] = worker
        if wait:
            self._ready(worker)
        return worker

    def leave(self, worker: Process) -> None:
        """It dies, and its machine with it."""
        worker.kill()
        del self.workers[worker.name]

    def _ready(self, worker: Process) -> None:
        wait_for(
            lambda: worker.said(b" ready."), seconds=processes.START_SECONDS, what=f"{worker.name} is ready"
        )

    def restart(self, worker: Process) -> None:
        worker.start()
        self._ready(worker)

    def warm(self) -> None:
        """A day in full swing: whoever works has loaded the models, so that a fault is felt, and no first start."""
        self.tell(self.orders(4 * len(self.workers))).join()
        self.settle()

    def stop(self) -> None:
        """Everything, whatever state it is in."""
        for process in [self.web, *self.beats, *self.workers.values()]:
            with suppress(Exception):
                if process.alive:
                    process.kill()
        self._stop_parts(self.staff, self.receiver, self.broker, self.database, self.disk)
        self.accepted.close()
        self.delivered.close()

    @staticmethod
    def _stop_parts(*parts: Any) -> None:
        for part in filter(None, parts):
            with suppress(Exception):
                part.stop()

    # --- The shop's day ---------------------------------------------------------------------------
    def orders(self, count: int, *, customers: int = 0, random: Random | None = None) -> list[Order]:
        """New orders of new customers, or spread over `customers` of them."""
        random = random or self.random
        start = random.getrandbits(40)
        now = datetime.now(UTC).isoformat()
        return [
            Order(
                message_id=f"msg-{start:x}-{number}",
                order=f"order-{start:x}-{number}",
                customer=f"C-{start:x}-{number % customers if customers else number}",
                minor=random.randint(500, 20_000),
                at=now,
            )
            for number in range(count)
        ]

    def tell(self, orders: list[Order], *, pause: float = 0.02) -> Thread:
        """Tell them from a thread of the outside world, each sometimes twice; join it before asking the oracle."""
        twice = {order.message_id for order in orders if self.random.random() < 0.2}

        def speak() -> None:
            for order in orders:
                for _ in range(2 if order.message_id in twice else 1):
                    self.shop.tell(order)
                time.sleep(pause)

        return _started(speak)

    def chat(self, over: Event) -> Thread:
        """One new order of a new customer after another, until it is over."""
        random = Random(self.random.random())  # another thread must not stir the choices of this one

        def speak() -> None:
            while not over.wait(CHAT_SECONDS):
                self.shop.tell(*self.orders(1, random=random))

        return _started(speak)

    def file_of_orders(self, count: int) -> str:
        """A file to import: many orders of few customers, whom no webhook knows, so that little is decided after it."""
        start = self.random.getrandbits(40)
        day = datetime.now(UTC).date().isoformat()
        headings = "event_id,kind,occurred_at,customer_id,order_id,product_id,quantity,unit_price,currency"
        empty = "product_name,category,discount,rating,text,channel"
        lines = [f"{headings},{empty}"]
        for number in range(count):
            fact = f"e-{start:x}-{number},order_placed,{day}T00:00:01Z,I-{start:x}-{number % 20},o-{start:x}-{number}"
            lines.append(f"{fact},P{number % 50},1,{number % 90 + 1}.00,GBP,,,,,,")
        return "\n".join(lines)

    # --- Watching ---------------------------------------------------------------------------------
    def running(self, table: str, run: int | None = None) -> bool:
        where = "state = 'running'" + (f" AND id = {run}" if run else "")
        return bool(self.database.rows(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1"))

    def value(self, sql: str) -> Any:
        return self.database.rows(sql)[0][0]

    def is_settled(self) -> bool:
        return not self.oracle.unsettled()

    def settle(self, *, seconds: float = SETTLE_SECONDS) -> float:
        """Wait until nothing is under way; returns how long it took. What is stuck is named."""
        started = time.monotonic()
        try:
            wait_for(self.is_settled, seconds=seconds, what="everything settled", every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.oracle.unsettled()}\n{self.logs()}") from None
        return time.monotonic() - started

    def findings(self) -> list[str]:
        """The oracle's, and those of a recomputation by one process alone."""
        return [*self.oracle.findings(), *self.staff.do("recompute")]

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{worker.tail(2500)}" for name, worker in self.workers.items())


class Staff:
    """Somebody at the admin's buttons (tests/chaos/work.py)."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.work"], cwd=ROOT, env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            preexec_fn=processes.die_with_parent,
        )  # fmt: skip

    def do(self, command: str, *arguments: Any) -> Any:
        """Run a command; raises what went wrong."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, "the staff's process ended"
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        self._log.close()


def fresh_keys() -> dict[str, str]:
    made = subprocess.run(
        [sys.executable, "-m", "config.keys"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in made.stdout.split())


def _started(target: Callable[[], None]) -> Thread:
    """A thread whose failure is raised by `join`."""
    thread = _Told(target)
    thread.start()
    return thread


class _Told(Thread):
    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = target
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self._error is not None:
            raise self._error
