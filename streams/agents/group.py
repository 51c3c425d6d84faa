"""The agents of a worker, put on a Faust app: people, courses, and what learns from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from faust.tables.manager import TableManager

from models.retention.context import Context
from streams.agents.courses.agent import CoursesAgent
from streams.agents.courses.view import GlobalCourseView
from streams.agents.users.agent import UsersAgent
from streams.agents.users.recommending import RecommendationJob
from streams.delivery.sender import Sender
from streams.engine.app import App, BeforeCommit
from streams.engine.producer import Producer
from streams.engine.table import StateListener, WriteBehindTable, changelog
from streams.kafka import topics
from streams.kafka.codec import Record
from streams.kafka.topics import name
from streams.metrics import Metrics
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.agents.training.churn_trainer import ChurnTrainer
    from streams.agents.training.ranker_trainer import RankerTrainer


class AgentGroup:
    """Those that the settings name; each writes what changed before offsets are chosen.

    Args:
        app: that runs them.
        settings: the worker's.
        metrics: the worker's.
        partitions: of `events`, and of whatever is split as it is.
        world: what people are scored with, as it stands.
        library: what is known of courses; none where nobody is recommended any.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        metrics: Metrics,
        partitions: int,
        world: Callable[[], Context],
        library: GlobalCourseView | None,
    ) -> None:
        self.app = app
        self.users: UsersAgent | None = None
        self._settings = settings
        self._metrics = metrics
        self._partitions = partitions
        self._learners: dict[str, ChurnTrainer | RankerTrainer] = {}
        self._owners: list[UsersAgent | CoursesAgent] = []
        self._flushes: list[Callable[[], None]] = []
        if "users" in settings.agents:
            self._add_users(world, library)
        if "courses" in settings.agents and settings.recommend:
            courses = CoursesAgent(lambda: self.sender, settings, metrics)
            self._own(courses, "courses", "courses", topics.ROWS, topics.INTERACTIONS)
        if "trainer" in settings.agents:
            self._add_trainers()
        app.sensors.add(BeforeCommit(lambda: [flush() for flush in self._flushes]))

    @property
    def sender(self) -> Sender:
        """What all of them write through."""
        return cast(Producer, self.app.producer).sender

    def not_ready(self) -> str:
        """Return why they do not work yet, or nothing."""
        if self.app.rebalancing or not cast(TableManager, self.app.tables).recovery.completed.is_set():
            return "partitions are being given out or recovered"
        if not self.app.consumer.assignment() and self.users is not None:
            return "no partition is ours"
        return ""

    def holder(self, key: bytes) -> str | None:
        """Return the web address of the other worker that holds a person; none if it is this one."""
        if self.users is None:
            return None
        holder = str(self.app.router.key_store("people", key))
        mine = str(self.app.conf.canonical_url)
        return None if holder.rstrip("/") == mine.rstrip("/") else holder

    def heard(self, record: Record) -> None:
        """Take note of a published snapshot."""
        for learner in self._learners.values():
            learner.on_record(record)

    def close(self) -> None:
        """Let go of all partitions, at the end."""
        for owner in self._owners:
            owner.close()

    def _add_users(self, world: Callable[[], Context], library: GlobalCourseView | None) -> None:
        self.users = UsersAgent(self.app, self._settings, self._metrics, world, self._partitions)
        self._own(self.users, "users", "people", topics.PEOPLE, topics.EVENTS)
        self.app.task(self.users.idle)
        if library is not None:
            self.users.listing = RecommendationJob(self._settings, library, world, lambda: self.sender, self._metrics)
            self.app.task(self.users.listing.run)

    def _add_trainers(self) -> None:
        # Only the trainer needs River and SciPy: a worker without it starts faster and takes less memory.
        from streams.agents.training.challengers import load_challenger
        from streams.agents.training.churn_trainer import ChurnTrainer
        from streams.agents.training.ranker_trainer import RankerTrainer

        if self._settings.challenger:
            load_challenger(self._settings.challenger)  # an unusable one is refused before anything starts
        self._learn(topics.EXAMPLES, "trainer", ChurnTrainer)
        if self._settings.recommend:
            self._learn(topics.LISTS, "ranking", RankerTrainer)

    def _own(self, owner: UsersAgent | CoursesAgent, agent: str, table: str, kept: str, topic: str) -> None:
        """Add an agent that owns a table, kept in one topic, and takes what another tells of its keys."""
        self._table(table, kept, owner)
        self.app.deliver(name(self._settings, topic), agent, owner.process_chunk)
        self._owners.append(owner)
        self._flushes.append(owner.flush)

    def _table(self, called: str, topic: str, listener: StateListener) -> None:
        table = WriteBehindTable(
            self.app,
            name=called,
            key_type=bytes,
            value_type=bytes,
            partitions=self._partitions,
            changelog_topic=changelog(self.app, name(self._settings, topic), partitions=self._partitions),
        )
        table.listener = listener
        self.app.tables.add(table)

    def _learn(self, topic: str, agent: str, kind: type[ChurnTrainer] | type[RankerTrainer]) -> None:
        """Add one that learns from a topic of one partition, whose owner alone it is."""
        app, full = self.app, name(self._settings, topic)

        def learner() -> ChurnTrainer | RankerTrainer:
            if agent not in self._learners:
                self._learners[agent] = kind(self._settings, self.sender, self._metrics)
            return self._learners[agent]

        async def process_chunk(_: int, records: list[Any]) -> bool:
            await learner().process_chunk(records)
            return True

        async def given(*_: Any, **__: Any) -> None:
            await learner().own(full in {tp.topic for tp in app.consumer.assignment()})

        app.deliver(full, agent, process_chunk)
        app.on_rebalance_complete.connect(given, weak=False)
        self._flushes.append(lambda: learner().flush())
