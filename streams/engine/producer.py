"""A Faust producer around `Sender`: its flush is a barrier, and a failure stops the app."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from faust.transport.drivers import aiokafka as driver

from streams.delivery.lease import PartitionLease
from streams.delivery.sender import Sender

STOP_TIMEOUT = 10.0
"""Seconds to send what is left when the app stops."""


class LeaseHolder(Protocol):
    """What the producer needs from its app."""

    lease: PartitionLease


class Producer(driver.Producer):
    """Sends idempotently and reports every failure.

    Faust's own flush gives up after a tenth of a second, and a rejected record ends in a future that is never awaited.
    Here an unacknowledged record crashes the app before any later offset is committed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sender = Sender(self._failed, cast(LeaseHolder, self.app).lease)
        self._ending: asyncio.Future[Any] | None = None

    async def flush(self) -> None:
        """Wait until every record enqueued before this call is acknowledged; raise the first failure."""
        await self.buffer.flush()
        await self.sender.flush()

    async def on_start(self) -> None:
        """Start sending."""
        await super().on_start()
        self.add_future(self.sender.run(self._ensure_producer()))

    async def on_stop(self) -> None:
        """Send the remaining records, unless sending has failed."""
        if self.sender.failure is None and self.sender.backlog:
            await asyncio.wait([asyncio.ensure_future(self.sender.flush())], timeout=STOP_TIMEOUT)
        await super().on_stop()

    def _settings_extra(self) -> dict[str, Any]:
        """Return the settings of an idempotent producer. Faust sets them only with transactions."""
        return {"acks": "all", "enable_idempotence": True}

    def _failed(self, error: BaseException) -> None:
        self._ending = asyncio.ensure_future(self.app.crash(error))
