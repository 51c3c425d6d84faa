"""A Faust app with Encore's transport. All configuration of Faust is here."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.sensors import Sensor
from faust.serializers.schemas import Schema
from faust.transport.drivers import aiokafka as driver
from yarl import URL

from streams.delivery.lease import PartitionLease
from streams.engine.consumer import ChunkConsumer
from streams.engine.producer import Producer
from streams.engine.recovery import BatchTables, PlainTables
from streams.kafka.clients import faust_credentials, ssl_context
from streams.settings import Settings


class Transport(driver.Transport):
    """Faust's transport with the consumer and producer of this package."""

    Consumer = ChunkConsumer
    Producer = Producer


class RawChunks(Schema):  # type: ignore[type-arg]
    """Passes a chunk of raw records on. Agents decode, because a record that cannot be decoded is a dead letter."""

    def loads_key(self, app: Any, message: Any, **options: Any) -> Any:
        """Return the raw key."""
        return message.key

    def loads_value(self, app: Any, message: Any, **options: Any) -> Any:
        """Return the raw records."""
        return message.value


class App(faust.App):
    """A Faust app that delivers chunks of at most `chunk` records and whose producer flush is a barrier.

    `refused` holds the error that keeps the app out of its consumer group for good.
    """

    chunk: int = 200
    fetch_wait_ms: int = 500
    refused: BaseException | None = None
    lease: PartitionLease

    def deliver(self, topic: str, agent: str, process: Callable[[int, list[Any]], Awaitable[bool]]) -> None:
        """Deliver the chunks of a topic to a function, one after the other.

        Args:
            topic: full name of the topic.
            agent: name of the Faust agent.
            process: takes a partition and its records; returns whether they were processed and may be committed.
        """
        source = self.topic(topic, schema=RawChunks(), internal=False)

        async def loop(stream: Any) -> None:
            stream.enable_acks = False  # Faust's own acknowledgement would cover skipped messages
            async for event in stream.events():
                event.message.processed = await process(event.message.partition, event.message.value)
                await stream.ack(event)

        self.agent(source, name=agent, concurrency=1)(loop)

    def _new_transport(self) -> Any:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return Transport(self.conf.broker_producer, self)


class BeforeCommit(Sensor):
    """Calls back right before offsets are chosen. What is enqueued then is durable before they are committed."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    def on_commit_initiated(self, consumer: Any) -> None:
        """Faust's consumer calls this synchronously. The barrier of `Producer.flush` follows."""
        self._call()


def new_app(settings: Settings) -> App:
    """Return an app for the broker of the settings, without agents."""
    fast = settings.engine == "fast"
    app = App(
        settings.group,
        broker=[URL(f"kafka://{server}") for server in settings.bootstrap],
        broker_credentials=faust_credentials(settings),
        ssl_context=ssl_context(settings),
        datadir=tempfile.mkdtemp(prefix="encore-"),
        store="memory://",
        autodiscover=False,
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=settings.commit_every,
        broker_commit_every=1_000_000,
        broker_session_timeout=settings.session_timeout,
        broker_request_timeout=max(90.0, settings.session_timeout * 1.5),
        broker_heartbeat_interval=min(3.0, settings.session_timeout / 3),
        broker_rebalance_timeout=max(10.0, settings.session_timeout),
        broker_max_poll_records=10_000,
        consumer_max_fetch_size=4 << 20,
        producer_linger=0.005,
        producer_max_batch_size=256 << 10,
        producer_max_request_size=settings.max_record_bytes + 100_000,
        stream_buffer_maxsize=64,
        stream_wait_empty=False,
        web_enabled=False,
        canonical_url=settings.web_url or f"http://{settings.web_host}:{settings.web_port}",
        value_serializer="raw",
        key_serializer="raw",
        TableManager=BatchTables if fast else PlainTables,
        recovery_consistency_check=False,  # CheckedRecovery is stricter, and its message says what to do
    )
    app.chunk = settings.chunk if fast else 1
    app.lease = PartitionLease(settings.session_timeout)
    if settings.embedded:
        app.fetch_wait_ms = 50  # the embedded broker always waits for the whole time
    return app
