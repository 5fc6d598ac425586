"""The real servers and programs of a test run: each server started once, on first use, however many processes run the tests.

With pytest-xdist they belong to the process that controls the others, which ask it for them.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener

from rtcdp.errors import ClusterError
from rtcdp.servers import brokers, local_kafka
from rtcdp.servers.local_process import free_port
from rtcdp.servers.redis_server import RedisServer

Missing = ClusterError
"""A server that cannot be started here, a program that is not here; its text says why."""

LIMITED_USER, LIMITED_PASSWORD = "limited", "secret"

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


def guarded(port: int) -> local_kafka.LocalKafka:
    """A local Kafka. Everybody is an administrator, except at the listener on `port`, where LIMITED_USER may do nothing."""
    broker, controller = free_port(), free_port()
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    listeners = f"PLAINTEXT://127.0.0.1:{broker},LIMITED://127.0.0.1:{port}"
    settings = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.bootstrap.servers": f"localhost:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LIMITED:SASL_PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.name.limited.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.limited.plain.sasl.jaas.config": f'{plain} user_{LIMITED_USER}="{LIMITED_PASSWORD}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    return local_kafka.LocalKafka(port=broker, settings=settings, brief=True)


class Servers:
    """Starts servers, finds programs, and answers the processes that ask for them.

    missing: why a server or program that somebody asked for is not there.
    """

    def __init__(self) -> None:
        self.missing: list[str] = []
        self._running = ExitStack()
        self._found: dict[str, str] = {}
        self._limited = ""
        self._starts: dict[str, Callable[[], str]] = {
            "kafka": self._start_kafka,
            "limited": self._find_limited,
            "redis": self._start_redis,
            "chromium": partial(
                _find_program, CHROMIUM, "the console was not looked at in a browser (Debian's package chromium)"
            ),
            "promtool": partial(_find_program, ("promtool",), "alerts and rules were not run (Debian's package prometheus)"),
        }
        self._locks = {name: threading.Lock() for name in self._starts}
        self._listener: Listener | None = None

    def get(self, name: str) -> str:
        """Address of `kafka`, its listener `limited` or `redis`, started on first use; path of `chromium` or `promtool`.

        Raises Missing.
        """
        with self._locks[name]:
            if name not in self._found:
                try:
                    self._found[name] = self._starts[name]()
                except ClusterError as error:
                    if str(error) not in self.missing:
                        self.missing.append(str(error))
                    raise
            return self._found[name]

    def prepare(self, name: str) -> None:
        """Start it in the background: it will be asked for."""
        threading.Thread(target=self._try, args=(name,), daemon=True).start()

    def listen(self) -> tuple[str, bytes]:
        """Answer `Elsewhere` from now on; returns what that needs to know."""
        if self._listener is None:
            self._key = os.urandom(16)
            self._listener = Listener(
                ("127.0.0.1", 0), authkey=self._key, backlog=64
            )  # as many ask at once; of a full queue some would wait for ever
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return str(self._listener.address[1]), self._key

    def close(self) -> None:
        """Stop what was started."""
        if self._listener is not None:
            self._listener.close()
        for lock in self._locks.values():
            lock.acquire()  # a server that is just being started has to be stopped too; none is started after this
        self._running.close()

    def _start_kafka(self) -> str:
        broker = brokers.find(os.environ.get("RTCDP_TEST_BOOTSTRAP", ""))
        if isinstance(broker, local_kafka.LocalKafka):
            port = free_port()
            broker = guarded(port)
            self._limited = f"127.0.0.1:{port}"
        return self._running.enter_context(broker).bootstrap

    def _find_limited(self) -> str:
        self.get("kafka")
        if not self._limited:
            raise ClusterError("permissions are tested on a Kafka that is started here, and need Java and Maven")
        return self._limited

    def _start_redis(self) -> str:
        return self._running.enter_context(RedisServer(os.environ.get("RTCDP_TEST_REDIS", ""))).url

    def _try(self, name: str) -> tuple[bool, str]:
        try:
            return True, self.get(name)
        except ClusterError as error:
            return False, str(error)

    def _accept(self, listener: Listener) -> None:
        while True:
            try:
                connection = listener.accept()
            except (EOFError, AuthenticationError):
                continue  # whoever asked is gone
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection:
            connection.send(self._try(connection.recv()))


def _find_program(names: tuple[str, ...], without: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise Missing(f"{names[0]} is not on the path: {without}")
    return found


class Elsewhere:
    """The servers of the process that controls this one.

    port, key: what its `listen` returned.
    """

    def __init__(self, port: str, key: bytes) -> None:
        self._connect = partial(Client, ("127.0.0.1", int(port)), authkey=key)

    def get(self, name: str) -> str:
        """As `Servers.get`."""
        with self._connect() as connection:
            connection.send(name)
            there, answer = connection.recv()
        if not there:
            raise Missing(answer)
        return str(answer)

    def prepare(self, name: str) -> None:
        """As `Servers.prepare`."""
        threading.Thread(target=self._ask, args=(name,), daemon=True).start()

    def close(self) -> None:
        """Nothing: they belong to another process."""

    def _ask(self, name: str) -> None:
        try:
            self.get(name)
        except (Missing, OSError, EOFError):
            return  # whoever needs it will be told
