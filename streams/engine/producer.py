"""Faust's producer around our sender: its flush is a barrier, and a failure stops the app."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from faust.transport.drivers import aiokafka as driver

from streams.delivery.lease import PartitionLease
from streams.delivery.sender import Sender

LAST_WORDS = 10.0


class Held(Protocol):
    """What the producer asks of its app."""

    lease: PartitionLease


class Producer(driver.Producer):
    """Sends idempotently and forgets no failure.

    Faust's own flush gives up after a tenth of a second, and what the broker rejects ends in a future that nobody
    awaits. Here a record that was not acknowledged crashes the app, before any offset behind it is committed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sender = Sender(self._failed, cast(Held, self.app).lease)
        self._ending: asyncio.Future[Any] | None = None

    async def flush(self) -> None:
        """Wait until everything put before this call is acknowledged; raises the first failure."""
        await self.buffer.flush()
        await self.sender.flush()

    async def on_start(self) -> None:
        """Start sending."""
        await super().on_start()
        self.add_future(self.sender.run(self._ensure_producer()))

    async def on_stop(self) -> None:
        """Send what is left, unless sending has failed."""
        if self.sender.failure is None and self.sender.backlog:
            await asyncio.wait([asyncio.ensure_future(self.sender.flush())], timeout=LAST_WORDS)
        await super().on_stop()

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    def _failed(self, error: BaseException) -> None:
        self._ending = asyncio.ensure_future(self.app.crash(error))
