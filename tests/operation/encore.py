"""Encore as an operator has it: commands and workers as processes, records in and out as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.schema import events as ev
from streams import settings as settings_
from streams.kafka import clients
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.readers import read_all
from streams.kafka.topics import partitions_of
from streams.settings import Settings
from tests.brokers import Kafka, free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
Embedded = Callable[[Mapping[str, int]], EmbeddedBroker]


class Encore:
    """One Encore on a broker: its settings, its commands, its workers."""

    def __init__(self, bootstrap: str, prefix: str, **settings: Any) -> None:
        given = {"broker": f"kafka://{bootstrap}", "prefix": f"{prefix}-", "group": prefix, "session_timeout": 6}
        given |= {"partitions": 4, "clock": "source", "expiry": "log", "pseudonym_key": "k", **settings}
        self.environment = {f"ENCORE_{name.upper()}": str(value) for name, value in given.items()}

    @classmethod
    def on(cls, broker: Kafka | Embedded, prefix: str, **settings: Any) -> Encore:
        """Return an Encore whose topics are there, on a real Kafka or on a new embedded broker."""
        if isinstance(broker, Kafka):
            encore = cls(broker.bootstrap, prefix, **settings)
            encore.done("topics", "create")
            return encore
        topics = partitions_of(cls("", prefix, **settings).settings)
        return cls(broker(topics).bootstrap, prefix, embedded=1, **settings)

    @property
    def settings(self) -> Settings:
        return settings_.load(self.environment)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            env=self._env(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def done(self, *arguments: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        run = self.run(*arguments)
        assert (run.returncode, run.stderr.count("Traceback")) == (0, 0), run.stderr
        return run.stdout

    @contextlib.contextmanager
    def worker(self, **settings: Any) -> Iterator[WorkerProcess]:
        with WorkerProcess(self._env(**settings)) as worker:
            yield worker

    def send(self, topic: str, *events: ev.AnyEvent | bytes, partition: int | None = None) -> None:
        async def send() -> None:
            producer = clients.producer(self.settings, acks=1, enable_idempotence=False)
            await producer.start()
            try:
                for event in events:
                    key = event.user_id.encode() if isinstance(event, ev.Event) else None
                    value = event if isinstance(event, bytes) else ev.encode(event)
                    await producer.send(self.settings.prefix + topic, value, key=key, partition=partition)
                await producer.flush()
            finally:
                await producer.stop()

        asyncio.run(send())

    def tick(self, time: float) -> None:
        for partition in range(self.settings.partitions):
            self.send("events", ev.Tick(time=time), partition=partition)

    def read(self, topic: str) -> list[Any]:
        return asyncio.run(read_all(self.settings, self.settings.prefix + topic))

    def until(self, topic: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Read a topic again and again until it holds enough."""
        end = time.monotonic() + PATIENCE
        while not enough(records := self.read(topic)):
            assert time.monotonic() < end, f"{topic}: {len(records)} records, and not enough"
            time.sleep(0.3)
        return records

    def _env(self, **settings: Any) -> dict[str, str]:
        more = {f"ENCORE_{name.upper()}": str(value) for name, value in settings.items()}
        return {**os.environ, **self.environment, **more, "PYTHONPATH": str(ROOT)}


class WorkerProcess:
    """A worker; leaving the block ends it by its process id."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = free_port()
        environment["ENCORE_WEB_PORT"] = str(self.port)
        self._process = subprocess.Popen([sys.executable, "-m", "streams", "worker"], env=environment, cwd=ROOT)

    def get(self, path: str) -> tuple[int, str]:
        """Ask the web server; (0, "") while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> WorkerProcess:
        self.until(lambda: self.get("/readyz")[0] == 200)
        return self

    def until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert self._process.poll() is None, "the worker ended"
            assert time.monotonic() < end, "it took too long"
            time.sleep(0.2)

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, summed over the labels that are not given."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in wanted))

    def user(self, user_id: str) -> dict[str, Any]:
        status, body = self.get(f"/users/{user_id}")
        return json.loads(body) if status == 200 else {}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return self._process.wait(timeout=PATIENCE)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=30)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
