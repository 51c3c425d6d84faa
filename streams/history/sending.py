"""Sends history to Kafka in time order, with ticks of its event time, as fast as the workers process it."""

from __future__ import annotations

import asyncio

from aiokafka.errors import KafkaError
from rich.console import Console

from streams.agents.ingest import mapping_file
from streams.errors import OperatorError
from streams.history.command import EventWindow, with_progress
from streams.history.history_sender import HistorySender, SendOptions, SendSummary, day_text
from streams.history.sinks import HistorySink, InputTopicSink, KafkaSession, LogSink
from streams.history.sources import open_source
from streams.kafka import admin, topics
from streams.kafka.topics import name
from streams.settings import Settings

__all__ = ["SendOptions", "SendSummary", "send", "summary_text"]


def send(settings: Settings, options: SendOptions, console: Console) -> SendSummary:
    """Send history, and wait until the workers have done everything that is due by its end.

    Raises:
        OperatorError: an option cannot be used, or no worker processes the records; one line that says why.
    """
    _check_options(settings, options)
    partitions = admin.check_topics(settings)[name(settings, topics.EVENTS)]
    sources = [open_source(spec, settings, options.mapping) for spec in options.sources]
    window = EventWindow(sources, settings, options.since, options.until)
    names = tuple(source.name for source in sources)

    async def main() -> SendSummary:
        async with KafkaSession(settings) as session:
            sink: HistorySink = (
                InputTopicSink(session, options.to, partitions) if options.to else LogSink(session, partitions)
            )
            sender = HistorySender(session, sink, window, names, partitions, options, console)
            return await sender.run(with_progress(window, console))

    try:
        return asyncio.run(main())
    except (KafkaError, OSError) as error:
        raise OperatorError(f"{settings.broker}: {error!r}") from None


def summary_text(sent: SendSummary) -> str:
    """Return a summary as text for the terminal."""
    rate = sent.events / max(sent.seconds, 1e-9)
    lines = [
        f"sent {sent.events:,} events from {day_text(sent.first)} to {day_text(sent.last)}, {rate:,.0f} per second"
    ]
    if sent.catalogue:
        lines.append(f"{sent.catalogue:,} catalogue events")
    lines += [f"{count:,} dead letters: {reason}" for reason, count in sorted(sent.dead_letters.items())]
    return "\n".join([*lines, "the workers have done everything that was due by then"])


def _check_options(settings: Settings, options: SendOptions) -> None:
    if settings.clock != "source":
        raise OperatorError(
            "clock is `wall`, but history has its own event time: set clock = source (ENCORE_CLOCK=source) here and "
            "for the workers; with ticks of the current time, every user in the history would count as inactive"
        )
    if options.to is not None and options.to not in settings.inputs:
        raise OperatorError(f"--to {options.to}: ingest reads {', '.join(settings.inputs)}")
    if options.to is not None and name(settings, options.to) in mapping_file.load_mappings(settings):
        raise OperatorError(
            f"--to {options.to}: a mapping file is set for this topic, so ingest expects foreign events there"
        )
