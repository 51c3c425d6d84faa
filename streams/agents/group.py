"""The agents of a worker on a Faust app: users, courses and trainers."""

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
    """The agents that the settings name. Before offsets are chosen, each agent writes what has changed.

    Args:
        app: the Faust app.
        settings: settings of the worker.
        metrics: metrics of the worker.
        partitions: partition count of `events` and of the topics that are partitioned like it.
        context: returns the models, rules and catalogue in use.
        courses: the courses; None if the worker computes no recommendations.

    Attributes:
        app: the Faust app.
        users: the users agent, if the worker has one.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        metrics: Metrics,
        partitions: int,
        context: Callable[[], Context],
        courses: GlobalCourseView | None,
    ) -> None:
        self.app = app
        self.users: UsersAgent | None = None
        self._settings = settings
        self._metrics = metrics
        self._partitions = partitions
        self._trainers: dict[str, ChurnTrainer | RankerTrainer] = {}
        self._owners: list[UsersAgent | CoursesAgent] = []
        self._flushes: list[Callable[[], None]] = []
        if "users" in settings.agents:
            self._add_users(context, courses)
        if "courses" in settings.agents and settings.recommend:
            agent = CoursesAgent(lambda: self.sender, settings, metrics)
            self._add_owner(agent, "courses", "courses", topics.ROWS, topics.INTERACTIONS)
        if "trainer" in settings.agents:
            self._add_trainers()
        app.sensors.add(BeforeCommit(lambda: [flush() for flush in self._flushes]))

    @property
    def sender(self) -> Sender:
        """The sender that all agents write with."""
        return cast(Producer, self.app.producer).sender

    def not_ready(self) -> str:
        """Return why the agents do not work yet; empty if they do."""
        if self.app.rebalancing or not cast(TableManager, self.app.tables).recovery.completed.is_set():
            return "partitions are being assigned or recovered"
        if not self.app.consumer.assignment() and self.users is not None:
            return "no partition is assigned to this worker"
        return ""

    def owner_url(self, key: bytes) -> str | None:
        """Return the web address of the worker that owns a user; None if it is this worker."""
        if self.users is None:
            return None
        owner = str(self.app.router.key_store("people", key))
        own_url = str(self.app.conf.canonical_url)
        return None if owner.rstrip("/") == own_url.rstrip("/") else owner

    def on_record(self, record: Record) -> None:
        """Pass a published snapshot to the trainers."""
        for trainer in self._trainers.values():
            trainer.on_record(record)

    def close(self) -> None:
        """Release all partitions when the worker ends."""
        for owner in self._owners:
            owner.close()

    def _add_users(self, context: Callable[[], Context], courses: GlobalCourseView | None) -> None:
        self.users = UsersAgent(self.app, self._settings, self._metrics, context, self._partitions)
        self._add_owner(self.users, "users", "people", topics.PEOPLE, topics.EVENTS)
        self.app.task(self.users.run_background)
        if courses is not None:
            job = RecommendationJob(self._settings, courses, context, lambda: self.sender, self._metrics)
            self.users.recommendation_job = job
            self.app.task(job.run)

    def _add_trainers(self) -> None:
        # Only the trainer needs River and SciPy: a worker without it starts faster and takes less memory.
        from streams.agents.training.challengers import load_challenger
        from streams.agents.training.churn_trainer import ChurnTrainer
        from streams.agents.training.ranker_trainer import RankerTrainer

        if self._settings.challenger:
            load_challenger(self._settings.challenger)  # an unusable one is refused before anything starts
        self._add_trainer(topics.EXAMPLES, "trainer", ChurnTrainer)
        if self._settings.recommend:
            self._add_trainer(topics.LISTS, "ranking", RankerTrainer)

    def _add_owner(
        self, owner: UsersAgent | CoursesAgent, agent: str, table: str, changelog_topic: str, topic: str
    ) -> None:
        """Add an agent that owns a table with a changelog, and processes a topic with the same keys."""
        self._add_table(table, changelog_topic, owner)
        self.app.deliver(name(self._settings, topic), agent, owner.process_chunk)
        self._owners.append(owner)
        self._flushes.append(owner.flush)

    def _add_table(self, table_name: str, topic: str, listener: StateListener) -> None:
        table = WriteBehindTable(
            self.app,
            name=table_name,
            key_type=bytes,
            value_type=bytes,
            partitions=self._partitions,
            changelog_topic=changelog(self.app, name(self._settings, topic), partitions=self._partitions),
        )
        table.listener = listener
        self.app.tables.add(table)

    def _add_trainer(self, topic: str, agent: str, kind: type[ChurnTrainer] | type[RankerTrainer]) -> None:
        """Add a trainer for a topic with one partition; it works while this worker owns that partition."""
        app, full_name = self.app, name(self._settings, topic)

        def trainer() -> ChurnTrainer | RankerTrainer:
            if agent not in self._trainers:
                self._trainers[agent] = kind(self._settings, self.sender, self._metrics)
            return self._trainers[agent]

        async def process_chunk(_: int, records: list[Any]) -> bool:
            await trainer().process_chunk(records)
            return True

        async def on_assigned(*_: Any, **__: Any) -> None:
            await trainer().own(full_name in {tp.topic for tp in app.consumer.assignment()})

        app.deliver(full_name, agent, process_chunk)
        app.on_rebalance_complete.connect(on_assigned, weak=False)
        self._flushes.append(lambda: trainer().flush())
