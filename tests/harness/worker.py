"""`encore worker` in a process of its own, with its web server as the window into it."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.harness.kafka import free_port
from tests.harness.process import Process

COMMAND = [sys.executable, "-m", "streams", "worker"]


def as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return settings by their names in the environment: `web_port` becomes ENCORE_WEB_PORT."""
    return {f"ENCORE_{name.upper()}": str(value) for name, value in settings.items()}


class WorkerProcess(Process):
    """A worker, started at once; its log lies in `folder`.

    Args:
        environment: its settings as variables; the variables of this process are added.
        folder: where its log file goes.
        cores: the CPU cores that it may use; empty for all.
        max_memory: bytes of data memory that it may have; 0 for no limit.
    """

    def __init__(
        self, environment: Mapping[str, str], folder: Path, cores: Iterable[int] = (), max_memory: int = 0
    ) -> None:
        self.port = free_port()
        variables = {**os.environ, **environment, "ENCORE_WEB_PORT": str(self.port)}
        super().__init__(COMMAND, variables, folder / f"worker-{self.port}.log", cores, max_memory)

    def ready(self) -> Self:
        """Wait until /readyz answers 200."""
        self.until(lambda: self.get("/readyz")[0] == 200, "the worker is ready")
        return self

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a page; (0, "") while the server does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def user(self, user_id: str) -> dict[str, Any]:
        """Return what /users says of a user; {} if it knows none."""
        status, body = self.get(f"/users/{user_id}")
        return json.loads(body) if status == 200 else {}

    def metrics(self) -> dict[str, float]:
        """Return every metric by its name with labels; {} while the server does not answer."""
        status, body = self.get("/metrics")
        lines = body.splitlines() if status == 200 else []
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric, summed over the labels that are not given; 0 if there is none."""
        return total(self.metrics(), name, **labels)


def total(metrics: Mapping[str, float], name: str, **labels: str) -> float:
    """Return a metric, summed over the labels that are not given."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        value
        for key, value in metrics.items()
        if key.partition("{")[0] == name and all(label in key for label in wanted)
    )
