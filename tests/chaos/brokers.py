"""Brokers of one run of the harness: killed, stopped, emptied, and behind a network that fails."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.chaos.processes import START_SECONDS, Process, answers, free_port, wait_for
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Database, Unavailable

QUEUES = ("inbound", "score", "insight", "train", "outbound", "default")
RABBITMQ_SCRIPTS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))


class Broker(Protocol):
    """`url` is where the product finds it, `network` what lies between.

    A broker that is the database itself has no faults of its own, and no network.
    """

    url: str
    network: Proxy

    def kill(self) -> None: ...

    def pause(self) -> None: ...

    def restore(self) -> None: ...

    def empty(self) -> None: ...

    def stop(self) -> None: ...


class Embedded:
    """The product's own table of messages."""

    url = "embedded://"
    network: Proxy

    def __init__(self, database: Database) -> None:
        self._database = database

    def kill(self) -> None:
        """It lives and dies with the database."""

    pause = restore = stop = kill

    def empty(self) -> None:
        self._database.execute("DELETE FROM workers_queuedmessage")


class RabbitMQ:
    """A server that others use too: queues under a prefix, and a proxy in front that stands for its failures."""

    def __init__(self, prefix: str) -> None:
        given = urlsplit(os.environ.get("CI_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//"))
        if not answers(given.port or 5672):
            raise Unavailable(f"RabbitMQ does not answer on port {given.port or 5672}")
        self._through_proxy(prefix, given.port or 5672, user=f"{given.username}:{given.password}")

    def _through_proxy(self, prefix: str, port: int, *, user: str = "guest:guest") -> None:
        self._prefix = prefix
        self._direct = f"amqp://{user}@127.0.0.1:{port}//"
        self.network = Proxy(port)
        self.url = f"amqp://{user}@127.0.0.1:{self.network.port}//"

    def kill(self) -> None:
        self.network.cut()

    def pause(self) -> None:
        self.network.cut()

    def restore(self) -> None:
        self.network.restore()

    def empty(self) -> None:
        self._each_queue(lambda channel, name: channel.queue_purge(name))

    def stop(self) -> None:
        self._each_queue(lambda channel, name: channel.queue_delete(name))
        self.network.close()

    def _each_queue(self, action: Any) -> None:
        from kombu import Connection

        for name in QUEUES:
            with suppress(Exception), Connection(self._direct) as connection:
                action(connection.default_channel, f"{self._prefix}{name}")


class OwnRabbitMQ(RabbitMQ):
    """A node of its own beside any that runs here: name, ports, cookie, folder and name server belong to the harness.

    `kill` is kill -9 of the node, `pause` stops it in its tracks (SIGSTOP).
    """

    def __init__(self, prefix: str, logs: Path) -> None:
        scripts = next(filter(Path.is_dir, RABBITMQ_SCRIPTS), None)
        epmd = shutil.which("epmd")
        if scripts is None or epmd is None:
            raise Unavailable("rabbitmq-server and Erlang are not installed: no node of its own to kill")
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-rabbitmq-"))
        self._port, names = free_port(), free_port()
        environment = self._environment(names)
        self._names = Process(
            "epmd", [epmd, "-port", str(names), "-address", "127.0.0.1"],
            log=logs / "epmd.log", environment=environment,
        )  # fmt: skip
        self._node = Process(
            "rabbitmq", [str(scripts / "rabbitmq-server")], log=logs / "rabbitmq.log", environment=environment
        )
        self._names.start()
        self._through_proxy(prefix, self._port)
        try:
            self.restore()
        except AssertionError as error:
            self.stop()
            raise Unavailable(f"a RabbitMQ node of its own does not start: {error}") from None

    def _environment(self, names: int) -> dict[str, str]:
        folder = self._folder
        files = {
            "rabbitmq.conf": f"listeners.tcp.local = 127.0.0.1:{self._port}\n",
            "plugins": "[].\n",
            "env": "",
        }
        for name, content in files.items():
            (folder / name).write_text(content)
        (folder / ".erlang.cookie").write_text(uuid.uuid4().hex)
        (folder / ".erlang.cookie").chmod(0o400)
        return {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"chaos-{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            # Without its wrapper, which would leave the node running when it is killed; and without reading input.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        }

    def kill(self) -> None:
        self._node.kill()

    def pause(self) -> None:
        self._node.signal(signal.SIGSTOP)

    def restore(self) -> None:
        if self._node.alive:
            self._node.signal(signal.SIGCONT)
        else:
            self._node.start()
        wait_for(self._serves, seconds=START_SECONDS, what="the RabbitMQ node serves", every=0.25)

    def _serves(self) -> bool:
        from kombu import Connection

        assert self._node.alive, f"the node ended:\n{self._node.tail()}"
        with suppress(Exception), Connection(self._direct, connect_timeout=2) as connection:
            connection.connect()
            return True
        return False

    def stop(self) -> None:
        self.network.close()
        for process in (self._node, self._names):
            if process.alive:
                process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Redis:
    """A server of its own with an append-only file, behind a proxy; `kill` is kill -9 of the server."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server is not installed")
        folder.mkdir(parents=True)
        self.port = free_port()
        self._process = Process(
            "redis",
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
             "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"],
            log=folder / "redis.log", environment={},
        )  # fmt: skip
        self.network = Proxy(self.port)
        self.url = f"redis://127.0.0.1:{self.network.port}/0"
        self.restore()

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        self._process.signal(signal.SIGSTOP)

    def restore(self) -> None:
        if self._process.alive:
            self._process.signal(signal.SIGCONT)
        else:
            self._process.start()
        wait_for(lambda: answers(self.port), seconds=START_SECONDS, what="Redis answers")
        self._limit_memory(0)

    def fill(self) -> None:
        """Its memory is all in use: it refuses what needs more, until `restore`."""
        self._limit_memory(1)

    def _limit_memory(self, most: int) -> None:
        """most: bytes; 0 is as much as there is."""
        import redis

        with redis.Redis(port=self.port, retry_on_error=[redis.BusyLoadingError]) as client:
            client.config_set("maxmemory", most)

    def empty(self) -> None:
        import redis

        with redis.Redis(port=self.port) as client:
            client.flushall()

    def stop(self) -> None:
        self.network.close()
        if self._process.alive:
            self._process.kill()
