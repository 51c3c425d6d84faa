"""The command line: a map of the product."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import orjson
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from rich.console import Console

from streams import settings as settings_
from streams.clock import wall
from streams.delivery.dead_letters import DeadLetter
from streams.errors import OperatorError
from streams.history.simulation import drift as drifts
from streams.history.simulation.drift import DriftName
from streams.kafka import admin, topics
from streams.kafka.readers import read_compacted
from streams.kafka.topics import CLOCK_RELEASE_KEY
from streams.operation import campaigns
from streams.operation import dead_letters as letters
from streams.settings import Settings, SettingsError


def common(command: Any) -> Any:
    """Give a command the options that say which Encore is meant."""
    for option in (
        click.option("--prefix", help="What stands before the name of every topic."),
        click.option("--broker", help="Kafka's bootstrap servers, such as kafka://host:9092."),
        click.option("--settings", "file", type=click.Path(path_type=Path), help="A TOML file of settings."),
    ):
        command = option(command)
    return command


def load(file: Path | None, **given: Any) -> Settings:
    """Read the settings of a command."""
    return settings_.load(os.environ, file, given)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Encore keeps people who paid for knowledge.

    Learning and purchase events come in from Kafka; who is about to leave, and why, goes out, with coupons where they
    help. Start with `encore demo`; on your own Kafka with `encore topics create`, then `encore worker`.
    """


@cli.command()
@common
@click.option("--agents", help="What this worker does: ingest,users,courses,trainer (all by default).")
@click.option("--web-port", help="Port of /metrics, /healthz, /readyz and /users/{id}.")
@click.option("--mode", help="live, or shadow: decide and record, send nothing.")
def worker(file: Path | None, **given: Any) -> None:
    """Run the agents. More workers share the partitions between them."""
    from streams.app import run

    chosen = load(file, **given)
    sys.exit(run(chosen, admin.admit(chosen)))


@cli.group(name="topics")
def topics_() -> None:
    """Make the topics, or check them."""


@topics_.command()
@common
@click.option("--partitions", help="How many partitions a topic gets.")
def create(file: Path | None, **given: Any) -> None:
    """Make the topics that are missing and note which ones the state is built on."""
    made = admin.create(load(file, **given))
    click.echo("\n".join(made) or "all topics are there")


@topics_.command()
@common
def check(file: Path | None, **given: Any) -> None:
    """Check partition counts, clean-up policies, and that these are the topics the state was built on."""
    found = admin.check(load(file, **given))
    click.echo(f"{len(found)} topics are as they have to be")


@cli.group()
def campaign() -> None:
    """Check a campaign file, publish it, or end a campaign."""


@campaign.command(name="check")
@click.argument("campaign_file", type=click.Path(path_type=Path))
def campaign_check(campaign_file: Path) -> None:
    """Check a campaign file; nothing is published."""
    checked = campaigns.read(campaign_file)
    click.echo(f"{campaign_file} is fine: campaign {checked.id}, version {checked.version}")


@campaign.command(name="apply")
@common
@click.argument("campaign_file", type=click.Path(path_type=Path))
def campaign_apply(campaign_file: Path, file: Path | None, **given: Any) -> None:
    """Check a campaign file and publish it to all workers."""
    checked = campaigns.read(campaign_file)
    chosen = load(file, **given)
    admin.check(chosen)
    asyncio.run(admin.publish(chosen, topics.CAMPAIGNS, checked.id.encode(), campaigns.written(checked)))
    click.echo(f"campaign {checked.id}, version {checked.version}, is running")


@campaign.command(name="end")
@common
@click.argument("campaign_id")
def campaign_end(campaign_id: str, file: Path | None, **given: Any) -> None:
    """Take a campaign back from all workers; open offers stay good until they expire."""
    chosen = load(file, **given)
    admin.check(chosen)
    published = asyncio.run(read_compacted(chosen, topics.name(chosen, topics.CAMPAIGNS)))
    if campaign_id.encode() not in published:
        known = ", ".join(sorted(key.decode(errors="replace") for key in published)) or "none"
        raise OperatorError(f"no campaign {campaign_id} is published; those that are: {known}")
    asyncio.run(admin.publish(chosen, topics.CAMPAIGNS, campaign_id.encode(), None))
    click.echo(f"campaign {campaign_id} has ended")


@cli.group()
def clock() -> None:
    """See to the clock of the log."""


@clock.command()
@common
def release(file: Path | None, **given: Any) -> None:
    """Let time go on although a normally busy log has fallen silent."""
    chosen = load(file, **given)
    admin.check(chosen)
    asyncio.run(admin.publish(chosen, topics.META, CLOCK_RELEASE_KEY, repr(wall()).encode()))
    click.echo("ticks go on")


@cli.group()
def model() -> None:
    """Begin with a model that a replay has learned."""


@model.command(name="publish")
@common
@click.argument("model_file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Put it in the place of the one that is there.")
def model_publish(model_file: Path, replace: bool, file: Path | None, **given: Any) -> None:
    """Publish what `replay --save-model` wrote: workers score with it, the trainer goes on with it."""
    from streams.history import model_file as model_files

    chosen = load(file, **given)
    snapshot = model_files.read(model_file)
    admin.check(chosen)
    asyncio.run(model_files.begin_with(chosen, snapshot, replace))
    click.echo(f"a model of {snapshot.labels} labels is published")


@cli.group(name="dead-letters")
def dead_letters() -> None:
    """See what could not be applied and why, mend it, and send it back."""


@dead_letters.command(name="list")
@common
@click.option("--reason", help="Only those buried for this reason.")
@click.option("--all", "replayed_too", is_flag=True, help="Also those that were replayed.")
@click.option("--most", default=50, show_default=True, help="How many to list, newest last.")
def letters_list(file: Path | None, reason: str | None, replayed_too: bool, most: int, **given: Any) -> None:
    """List dead letters: id, reason, field, and what was wrong."""
    chosen = _letters(load(file, **given), reason, replayed_too)
    for letter in list(chosen)[-most:]:
        mark = " (replayed)" if letter.replayed else ""
        field = f" {letter.field}:" if letter.field else ""
        click.echo(f"{letter.id}  {letter.reason}{mark}{field} {letter.detail}")
    click.echo(f"{len(chosen)} dead letters" + (f", the last {most} shown" if len(chosen) > most else ""), err=True)


@dead_letters.command(name="show")
@common
@click.argument("letter_id")
def letters_show(letter_id: str, file: Path | None, **given: Any) -> None:
    """Show one dead letter whole, with the bytes as they came."""
    letter = _letter(load(file, **given), letter_id)
    for header, value in letter.headers():
        click.echo(f"{header}: {value.decode(errors='backslashreplace')}")
    click.echo()
    click.echo(letter.value.decode(errors="backslashreplace"))


@dead_letters.command(name="replay")
@common
@click.argument("letter_ids", nargs=-1)
@click.option("--reason", help="All that were buried for this reason.")
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Set a field first; VALUE is JSON or text.")
def letters_replay(
    letter_ids: tuple[str, ...], reason: str | None, fields: tuple[str, ...], file: Path | None, **given: Any
) -> None:
    """Append dead letters to the log and mark them; a second time does nothing."""
    chosen = load(file, **given)
    if not letter_ids and reason is None:
        raise click.UsageError("say which: ids, or --reason")
    wanted = [_letter(chosen, letter_id) for letter_id in letter_ids] or _letters(chosen, reason, False)
    done, problems = asyncio.run(letters.replay(wanted, dict(map(_field, fields)), chosen))
    click.echo(f"{done} replayed, {sum(bool(letter.replayed) for letter in wanted)} had been before")
    if problems:
        raise OperatorError("; ".join(problems))


@dead_letters.command(name="remove")
@common
@click.argument("letter_ids", nargs=-1, required=True)
def letters_remove(letter_ids: tuple[str, ...], file: Path | None, **given: Any) -> None:
    """Remove dead letters for good, with the bytes in them."""
    chosen = load(file, **given)
    wanted = [_letter(chosen, letter_id) for letter_id in letter_ids]
    for letter in wanted:
        asyncio.run(admin.publish(chosen, topics.DEAD_LETTERS, letter.id.encode(), None))
    click.echo(f"{len(wanted)} removed; Kafka drops their bytes when it compacts the topic")


def _letters(chosen: Settings, reason: str | None, replayed_too: bool) -> list[DeadLetter]:
    admin.check(chosen)
    return [
        letter
        for letter in asyncio.run(letters.read(chosen)).values()
        if (reason is None or letter.reason == reason) and (replayed_too or not letter.replayed)
    ]


def _letter(chosen: Settings, letter_id: str) -> DeadLetter:
    for letter in _letters(chosen, None, True):
        if letter.id == letter_id:
            return letter
    raise OperatorError(f"no dead letter {letter_id}")


def _field(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: expected FIELD=VALUE")
    try:
        return field, orjson.loads(value)
    except orjson.JSONDecodeError:
        return field, value


@cli.command()
@click.option("--source", default="simulation", type=click.Choice(["simulation", "sample"]), help="What is played.")
@click.option("--forever", is_flag=True, help="Go on until interrupted.")
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated platform.")
@click.option("--drift", type=click.Choice(drifts.NAMES), help="What changes in it halfway.")
def demo(source: Literal["simulation", "sample"], forever: bool, seed: int, drift: DriftName | None) -> None:
    """Play three months of a platform in about two minutes, on an embedded broker."""
    from streams.demo.run import run

    if drift and source != "simulation":
        raise click.UsageError("--drift: only a simulation can change; leave --source out")
    sys.exit(run(source=source, forever=forever, seed=seed, drift=drift))


MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--settings", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
@click.option("--mapping", type=click.Path(path_type=Path), help="A TOML file that says how foreign events are read.")
@click.option("--since", type=MOMENT, help="Leave out what happened before (UTC).")
@click.option("--until", type=MOMENT, help="Let time pass up to here, and leave out what happened later (UTC).")
@click.option("--model", type=click.Path(path_type=Path), help="Begin with the model that --save-model wrote.")
@click.option("--frozen", is_flag=True, help="Learn nothing: score with --model all the time.")
@click.option("--campaign", type=click.Path(path_type=Path), help="A campaign file that is taken to run all the time.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for what would go out, and for the report (index.html).",
)
@click.option("--save-model", type=click.Path(path_type=Path), help="Put there what was learned.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay(file: Path | None, since: datetime | None, until: datetime | None, as_json: bool, **wanted: Any) -> None:
    """Play history without Kafka: what would have been said and decided, and how good the model would have been.

    SOURCES are files of events, one JSON object a line (plain, .gz, .zst, or - for standard input).
    """
    from streams.history.command import ReplayOptions
    from streams.history.command import replay as play
    from streams.report.summary import words

    chosen = ReplayOptions(since=_moment(since), until=_moment(until), **wanted)
    if chosen.frozen and chosen.model is None:
        raise click.UsageError("--frozen: say with which --model")
    summary, _ = play(load(file), chosen, Console(stderr=True))
    click.echo(orjson.dumps(msgspec.to_builtins(summary)) if as_json else words(summary, ", ".join(chosen.sources)))


@cli.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="A folder with oulad/, completejourney/, cdnow/ and so on."
)
@click.option("--dataset", "names", multiple=True, help="Only this one of them; may be given several times.")
@click.option(
    "--people",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each one's people whose churn is asked for; 1 is everybody.",
)
@click.option(
    "--only",
    type=click.Choice(["churn", "taste", "drift"]),
    help="Only the churn model, only recommendations, or the churn model in simulated worlds that change.",
)
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
def evaluate(data: Path | None, names: tuple[str, ...], people: float | None, only: str | None, as_json: bool) -> None:
    """Measure churn model and recommendations on real data, beside what they have to beat.

    The churn model stands beside recency, logistic regression and weekly gradient boosting; without --data, on the
    sample of real history that the package carries. Recommendations stand beside popularity, a window cosine and an
    embedding. Every score and list is made before what came is known, and learned from after that. With --only drift,
    simulated worlds change, and the model stands between one that waits for labels and one that knows them at once.
    """
    from streams.evaluation.command import run

    run(data, names, people, as_json, only)


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@common
@click.option("--mapping", type=click.Path(path_type=Path), help="A TOML file that says how foreign events are read.")
@click.option("--since", type=MOMENT, help="Leave out what happened before (UTC).")
@click.option("--until", type=MOMENT, help="Let time pass up to here, and leave out what happened later (UTC).")
@click.option("--to", metavar="TOPIC", help="An input topic, and through ingest; straight into the log if left out.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), help="Seconds of history in a second; 3600: an hour.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def send(
    sources: tuple[str, ...],
    file: Path | None,
    mapping: Path | None,
    since: datetime | None,
    until: datetime | None,
    to: str | None,
    speed: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Send history to Kafka: the events that `replay` plays, to workers that have clock = source.

    As fast as workers take it, with ticks of its own time; ends when all that was due by its end has been done. What
    is old news by now is not mailed. Sent a second time, straight into the log, it goes on where it was interrupted.
    """
    from streams.history import sending

    posted = sending.SendOptions(sources, _moment(since), _moment(until), mapping, to, speed)
    sent = sending.send(load(file, **given), posted, Console(stderr=True))
    click.echo(orjson.dumps(msgspec.to_builtins(sent)) if as_json else sending.words(sent))


def _moment(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), help="Write it there instead of on the terminal.")
def contract(out: Path | None) -> None:
    """Print the contract of all topics, in and out, as AsyncAPI."""
    from streams.operation.contract import as_yaml

    if out is None:
        click.echo(as_yaml(), nl=False)
    else:
        try:
            out.write_text(as_yaml())
        except OSError as error:
            raise OperatorError(f"{out}: {error.strerror}") from None


def main() -> None:
    """Run a command; what an operator has to put right is one line on stderr and exit code 2.

    So is what Kafka says no to: a broker that went away, a topic that we may not read.
    """
    try:
        cli(standalone_mode=False)
    except (OperatorError, SettingsError) as error:
        click.echo(f"encore: {error}", err=True)
        sys.exit(2)
    except (KafkaError, KafkaException, TimeoutError) as error:
        click.echo(f"encore: Kafka: {' '.join(str(error).split()) or type(error).__name__}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
