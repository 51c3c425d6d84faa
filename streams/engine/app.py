"""A Faust app with our transport: everything Faust is told stands here."""

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
    """Faust's transport with our consumer and producer."""

    Consumer = ChunkConsumer
    Producer = Producer


class RawChunks(Schema):  # type: ignore[type-arg]
    """Hands a chunk of records through as it is; decoding is ours, since what cannot be decoded has a destination."""

    def loads_key(self, app: Any, message: Any, **options: Any) -> Any:
        """Return the key as it came."""
        return message.key

    def loads_value(self, app: Any, message: Any, **options: Any) -> Any:
        """Return the records as they came."""
        return message.value


class App(faust.App):
    """A Faust app that delivers chunks of at most `chunk` records, and whose producer is a barrier.

    `refused` says why the consumer group will never take it, if it will not.
    """

    chunk: int = 200
    fetch_wait_ms: int = 500
    refused: BaseException | None = None
    lease: PartitionLease

    def deliver(self, topic: str, agent: str, take: Callable[[int, list[Any]], Awaitable[bool]]) -> None:
        """Have chunks of a topic given to somebody, one after the other.

        Args:
            topic: its full name.
            agent: the name under which Faust keeps it.
            take: takes a partition and records of it; returns whether they are done and may be committed.
        """
        source = self.topic(topic, schema=RawChunks(), internal=False)

        async def loop(stream: Any) -> None:
            stream.enable_acks = False  # Faust's own would cover what it skips
            async for event in stream.events():
                event.message.taken = await take(event.message.partition, event.message.value)
                await stream.ack(event)

        self.agent(source, name=agent, concurrency=1)(loop)

    def _new_transport(self) -> Any:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return Transport(self.conf.broker_producer, self)


class BeforeCommit(Sensor):
    """Calls back at the moment before offsets are chosen: what is put on the producer then is durable with them."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    def on_commit_initiated(self, consumer: Any) -> None:
        """Called synchronously by Faust's consumer; the barrier of `Producer.flush` follows."""
        self._call()


def new_app(settings: Settings) -> App:
    """Return an app that talks to the settings' broker and has no agents yet."""
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
        recovery_consistency_check=False,  # ours is stricter, and says what to do
    )
    app.chunk = settings.chunk if fast else 1
    app.lease = PartitionLease(settings.session_timeout)
    if settings.embedded:
        app.fetch_wait_ms = 50  # that broker always waits as long as it may
    return app
