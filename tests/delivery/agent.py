"""A worker's listener without a broker, driven as Faust drives it."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

from models.schema import event_codec
from models.schema import events as ev
from streams.agents.users.agent import UsersAgent
from streams.agents.users.processor import LogProcessor
from streams.engine.app import App
from streams.kafka import topics
from streams.metrics import Metrics
from streams.settings import Settings
from tests.delivery.history import START
from tests.models.people import world
from tests.streams.doubles import ManualSink, Put, Record, turn

SETTINGS = Settings(clock="source")


class AgentDriver:
    """A worker's listener over a sink that a test acknowledges, at the offsets that the changelog gives."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.sink, self.metrics = ManualSink(), Metrics()
        self.app = SimpleNamespace(producer=SimpleNamespace(sender=self.sink), rebalancing=False)
        state = world(rules=settings.rules())
        self.users = UsersAgent(cast(App, self.app), settings, self.metrics, lambda: state, 1)

    def begin(self) -> AgentDriver:
        """Be given the partition with an empty changelog; the fence is acknowledged at offset 0."""
        self.users.recovered({0})
        self.acknowledge(0)
        return self

    @property
    def fold(self) -> LogProcessor:
        return self.users.folds[0]

    def apply(self, *offsets: int, user: str = "Ada", apart: float = 1.0) -> None:
        """Apply a chunk of a person's logins, so many seconds apart, that no ingest wrote."""
        self.fold.apply([login(offset, user, apart) for offset in offsets])

    def read(self, changelog: Iterable[tuple[bytes, bytes | None]], first: int = 0) -> AgentDriver:
        """Recover records of the changelog, from an offset on."""
        records = [Record(topics.PEOPLE, 0, offset, 0, *pair) for offset, pair in enumerate(changelog, first)]
        self.users.restore(0, records)
        return self

    def waiting(self) -> list[Put]:
        return self.sink.open(topics.PEOPLE)

    def acknowledge(self, first: int) -> None:
        """Acknowledge what waits for the changelog, from this offset on."""
        for offset, put in enumerate(self.waiting(), first):
            put.done.set_result(SimpleNamespace(offset=offset))
        turn()

    def settle(self, first: int) -> int:
        """Write everybody, and acknowledge all there is until nobody has anything to say; return the next offset."""
        while self.fold.people.dirty or self.sink.open():
            self.fold.flush()
            count = len(self.waiting())
            self.acknowledge(first)
            first += count
            self.sink.acknowledge()
        return first


def login(offset: int, user: str, apart: float) -> Record:
    event = ev.Login(id=f"{user} {offset}", user_id=user, time=START + offset * apart)
    return Record(topics.EVENTS, 0, offset, int(event.time * 1_000), user.encode(), event_codec.encode(event))


def changelog(office: AgentDriver) -> list[tuple[bytes, bytes | None]]:
    return [(put.key or b"", put.value) for put in office.sink.on(topics.PEOPLE)]
