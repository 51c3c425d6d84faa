"""A users agent without a broker, called as Faust calls it."""

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
from tests.models.people import make_context
from tests.streams.doubles import ManualSink, Put, Record, turn

SETTINGS = Settings(clock="source")


class AgentDriver:
    """A users agent over a record sink whose records a test acknowledges, at offsets that the test chooses."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.sink, self.metrics = ManualSink(), Metrics()
        self.app = SimpleNamespace(producer=SimpleNamespace(sender=self.sink), rebalancing=False)
        state = make_context(rules=settings.rules())
        self.users = UsersAgent(cast(App, self.app), settings, self.metrics, lambda: state, 1)

    def assign(self) -> AgentDriver:
        """Assign partition 0 with an empty changelog; the fence is acknowledged at offset 0."""
        self.users.recovered({0})
        self.acknowledge(0)
        return self

    @property
    def processor(self) -> LogProcessor:
        """The log processor of partition 0."""
        return self.users.processors[0]

    def apply(self, *offsets: int, user: str = "Ada", apart: float = 1.0) -> None:
        """Apply a chunk of a user's logins, so many seconds apart; the records have no origin."""
        self.processor.process([login(offset, user, apart) for offset in offsets])

    def read(self, changelog: Iterable[tuple[bytes, bytes | None]], first: int = 0) -> AgentDriver:
        """Recover records of the changelog, from an offset on."""
        records = [Record(topics.PEOPLE, 0, offset, 0, *pair) for offset, pair in enumerate(changelog, first)]
        self.users.restore(0, records)
        return self

    def unacknowledged_changelog(self) -> list[Put]:
        """Return the records on their way to the changelog."""
        return self.sink.open(topics.PEOPLE)

    def acknowledge(self, first: int) -> None:
        """Acknowledge the records on their way to the changelog, from this offset on."""
        for offset, put in enumerate(self.unacknowledged_changelog(), first):
            put.done.set_result(SimpleNamespace(offset=offset))
        turn()

    def settle(self, first: int) -> int:
        """Write all users and acknowledge all records until no user has outputs left; return the next offset."""
        while self.processor.users.dirty or self.sink.open():
            self.processor.flush()
            count = len(self.unacknowledged_changelog())
            self.acknowledge(first)
            first += count
            self.sink.acknowledge()
        return first


def login(offset: int, user: str, apart: float) -> Record:
    """Return the log record of a login."""
    """Return the log record of a login."""
    event = ev.Login(id=f"{user} {offset}", user_id=user, time=START + offset * apart)
    return Record(topics.EVENTS, 0, offset, int(event.time * 1_000), user.encode(), event_codec.encode(event))


def changelog(driver: AgentDriver) -> list[tuple[bytes, bytes | None]]:
    """Return the keys and values that the agent has written to its changelog."""
    return [(put.key or b"", put.value) for put in driver.sink.on(topics.PEOPLE)]
