"""Builds the log processor of a partition from its parts. The worker, a replay and the tests use it."""

from __future__ import annotations

from collections.abc import Callable

from models.retention.context import Context
from streams.agents.users.activity_listener import ActivityListener
from streams.agents.users.outbox import Outbox
from streams.agents.users.processor import LogProcessor
from streams.agents.users.store import UserStore
from streams.clock import PartitionClock
from streams.delivery.dead_letters import DeadLetterQueue
from streams.delivery.sender import RecordSink
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.metrics import Metrics
from streams.settings import Settings


class ProcessorFactory:
    """Builds the log processors of one worker. They share the sink, the metrics and the write-ahead outputs.

    Args:
        settings: settings of the worker.
        partitions: partition count of `events`.
        sink: returns what takes records; called when a processor is built or an output is sent.
        metrics: metrics of the worker.
        context: returns the models, rules and catalogue in use.
        prefix: prefix of the topics that are written.

    Attributes:
        write_ahead: sends the reproducible outputs of all partitions.
    """

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        sink: Callable[[], RecordSink],
        metrics: Metrics,
        context: Callable[[], Context],
        prefix: str,
    ) -> None:
        self._settings = settings
        self._partitions = partitions
        self._sink = sink
        self._metrics = metrics
        self._context = context
        self._prefix = prefix
        self.discard_outputs()

    def discard_outputs(self) -> None:
        """Forget write-ahead outputs after all partitions were lost. The log gives them again."""
        self.write_ahead = WriteAheadOutputs(self._sink, self._prefix, self._partitions, self._metrics)

    def create(
        self,
        partition: int,
        users: UserStore,
        clock: PartitionClock,
        expiry_clock: PartitionClock | None = None,
        listener: ActivityListener | None = None,
    ) -> LogProcessor:
        """Build the processor of a partition. The caller calls `resume` if the users were recovered.

        Args:
            partition: the partition.
            users: the store of its users.
            clock: its clock.
            expiry_clock: decides whether an output has expired when it is sent; `clock` if left out.
            listener: is notified of users who need new recommendations.
        """
        sink = self._sink()
        outbox = Outbox(users, self.write_ahead, sink, self._prefix, expiry_clock or clock, self._metrics)
        return LogProcessor(
            partition,
            self._partitions,
            self._settings,
            users,
            outbox,
            DeadLetterQueue(sink, self._prefix, self._metrics),
            clock,
            self._metrics,
            self._context,
            listener,
        )
