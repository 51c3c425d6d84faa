"""The link: events go to the partitions of their users, ticks follow everywhere, and the lag uses committed offsets."""

import asyncio

import aiokafka
import msgspec

from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Decision
from streams import settings
from streams.demo.kafka_link import KafkaLink, Lag
from streams.kafka import topics

T = 1_760_000_000.0
DAY = 86_400.0
DECISION = Decision(
    id="d1", user="u", time=T, candidate="coupon", cause="risk", sent=True, reason="sent", tier="high",
    probability=0.8, model="m",
)  # fmt: skip


def logins(begin: float) -> list[ev.Event]:
    return [ev.Login(id=f"e{begin}-{n}", user_id=f"user-{n % 9}", time=begin + n) for n in range(40)]


def test_a_step_is_written_in_order_and_ends_with_ticks(embedded_broker):
    """Events go to the partitions that the worker expects, with their own time; the lag falls as the group commits."""
    environment = {"ENCORE_PARTITIONS": "4", "ENCORE_CLOCK": "source"}
    broker = embedded_broker(topics.partitions_of(settings.load(environment)))
    link_settings = settings.load({**environment, "ENCORE_BROKER": broker.url})

    async def run() -> None:
        async with KafkaLink(link_settings) as link:
            await link.send(logins(T), T + DAY)
            await link.send(logins(T + DAY), T + 2 * DAY)
            assert await link.lag() == Lag(88, DAY)
            records = await read_and_commit(link_settings.bootstrap, 88)
            assert await link.lag() == Lag(0, 0.0)
            await link.send([], T + 3 * DAY)
            assert await link.lag() == Lag(4, DAY)
            await link.publish(topics.DECISIONS, "u", msgspec.json.encode(DECISION))
            outputs = []
            while not outputs:
                outputs = link.take_outputs()
                await asyncio.sleep(0.02)
            assert (outputs, link.take_outputs(), link.output_count) == ([DECISION], [], 1)
        check(records)

    asyncio.run(run())


async def read_and_commit(bootstrap: list[str], number: int) -> list[aiokafka.ConsumerRecord]:
    consumer = aiokafka.AIOKafkaConsumer(
        "events", bootstrap_servers=bootstrap, group_id="encore", auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    records: list[aiokafka.ConsumerRecord] = []
    while len(records) < number:
        for some in (await consumer.getmany(timeout_ms=500)).values():
            records += some
    await consumer.commit()
    await consumer.stop()
    return records


def check(records: list[aiokafka.ConsumerRecord]) -> None:
    sent = [event for begin in (T, T + DAY) for event in logins(begin)]
    for partition in range(4):
        own_records = [record for record in records if record.partition == partition]
        own_events = [event for event in sent if topics.partition_of(event.user_id.encode(), 4) == partition]
        first = [event for event in own_events if event.time < T + DAY]
        expected = [*first, ev.Tick(time=T + DAY), *own_events[len(first) :], ev.Tick(time=T + 2 * DAY)]
        assert [event_codec.decode(record.value) for record in own_records] == expected
        assert [record.timestamp for record in own_records] == [int(event.time * 1_000) for event in expected]
        assert [record.key for record in own_records] == [
            event.user_id.encode() if isinstance(event, ev.Event) else None for event in expected
        ]
