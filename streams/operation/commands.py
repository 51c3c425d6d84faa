"""The commands that operate a running Encore: topics, campaigns, clock, dead letters, contract.

Every command imports its implementation inside its function. At module level, this file and `streams.__main__`
import only click, the settings and the standard library, so that `encore --help` answers at once.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams import settings as settings_
from streams.errors import OperatorError
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.delivery.dead_letters import DeadLetter


def settings_options(command: Any) -> Any:
    """Add the options that choose the settings: --settings, --broker and --prefix."""
    for option in (
        click.option("--prefix", help="Prefix of every topic name."),
        click.option("--broker", help="Kafka's bootstrap servers, such as kafka://host:9092."),
        click.option("--settings", "file", type=click.Path(path_type=Path), help="A TOML file of settings."),
    ):
        command = option(command)
    return command


def load_settings(file: Path | None, **options: Any) -> Settings:
    """Load the settings of a command from its options, the environment and a file."""
    return settings_.load(os.environ, file, options)


@click.group(name="topics")
def topics() -> None:
    """Create the topics, or check them."""


@topics.command()
@settings_options
@click.option("--partitions", help="Number of partitions of a new topic.")
def create(file: Path | None, **options: Any) -> None:
    """Create the missing topics and record the ids of the topics that the state depends on."""
    from streams.kafka import admin

    created = admin.create_topics(load_settings(file, **options))
    click.echo("\n".join(created) or "all topics exist")


@topics.command()
@settings_options
def check(file: Path | None, **options: Any) -> None:
    """Check partition counts and clean-up policies, and that no topic was recreated since."""
    from streams.kafka import admin

    partitions = admin.check_topics(load_settings(file, **options))
    click.echo(f"{len(partitions)} topics are correct")


@click.group()
def campaign() -> None:
    """Check a campaign file, publish it, or end a campaign."""


@campaign.command(name="check")
@click.argument("campaign_file", type=click.Path(path_type=Path))
def check_campaign(campaign_file: Path) -> None:
    """Check a campaign file without publishing it."""
    from streams.operation import campaigns

    checked = campaigns.read_campaign(campaign_file)
    click.echo(f"{campaign_file} is valid: campaign {checked.id}, version {checked.version}")


@campaign.command(name="apply")
@settings_options
@click.argument("campaign_file", type=click.Path(path_type=Path))
def apply_campaign(campaign_file: Path, file: Path | None, **options: Any) -> None:
    """Check a campaign file and publish it to all workers."""
    from streams.kafka import admin
    from streams.kafka.topics import CAMPAIGNS
    from streams.operation import campaigns

    checked = campaigns.read_campaign(campaign_file)
    settings = load_settings(file, **options)
    admin.check_topics(settings)
    asyncio.run(admin.publish(settings, CAMPAIGNS, checked.id.encode(), campaigns.encode_campaign(checked)))
    click.echo(f"campaign {checked.id}, version {checked.version}, is running")


@campaign.command(name="end")
@settings_options
@click.argument("campaign_id")
def end_campaign(campaign_id: str, file: Path | None, **options: Any) -> None:
    """End a campaign on all workers; open offers stay valid until they expire."""
    from streams.kafka import admin
    from streams.kafka.readers import read_compacted
    from streams.kafka.topics import CAMPAIGNS, name

    settings = load_settings(file, **options)
    admin.check_topics(settings)
    published = asyncio.run(read_compacted(settings, name(settings, CAMPAIGNS)))
    if campaign_id.encode() not in published:
        known = ", ".join(sorted(key.decode(errors="replace") for key in published)) or "none"
        raise OperatorError(f"campaign {campaign_id} is not published; published campaigns: {known}")
    asyncio.run(admin.publish(settings, CAMPAIGNS, campaign_id.encode(), None))
    click.echo(f"campaign {campaign_id} has ended")


@click.group()
def clock() -> None:
    """Control the clock of the log."""


@clock.command(name="release")
@settings_options
def release_clock(file: Path | None, **options: Any) -> None:
    """Resume the ticks that stopped because a normally busy log has no new events."""
    from streams.clock import wall
    from streams.kafka import admin
    from streams.kafka.topics import CLOCK_RELEASE_KEY, META

    settings = load_settings(file, **options)
    admin.check_topics(settings)
    asyncio.run(admin.publish(settings, META, CLOCK_RELEASE_KEY, repr(wall()).encode()))
    click.echo("ticks resume")


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List dead letters with their reasons, repair them, and send them back to the log."""


@dead_letters.command(name="list")
@settings_options
@click.option("--reason", help="Only dead letters with this reason.")
@click.option("--all", "include_replayed", is_flag=True, help="Include those that were replayed.")
@click.option("--most", "limit", default=50, show_default=True, help="How many to list, newest last.")
def list_dead_letters(
    file: Path | None, reason: str | None, include_replayed: bool, limit: int, **options: Any
) -> None:
    """List dead letters: id, reason, field, and what was wrong."""
    found = _dead_letters(load_settings(file, **options), reason, include_replayed)
    for letter in found[-limit:]:
        mark = " (replayed)" if letter.replayed else ""
        field = f" {letter.field}:" if letter.field else ""
        click.echo(f"{letter.id}  {letter.reason}{mark}{field} {letter.detail}")
    click.echo(f"{len(found)} dead letters" + (f", the last {limit} shown" if len(found) > limit else ""), err=True)


@dead_letters.command(name="show")
@settings_options
@click.argument("dead_letter_id")
def show_dead_letter(dead_letter_id: str, file: Path | None, **options: Any) -> None:
    """Show the headers of one dead letter and its original bytes."""
    letter = _dead_letter(load_settings(file, **options), dead_letter_id)
    for header, value in letter.headers():
        click.echo(f"{header}: {value.decode(errors='backslashreplace')}")
    click.echo()
    click.echo(letter.value.decode(errors="backslashreplace"))


@dead_letters.command(name="replay")
@settings_options
@click.argument("dead_letter_ids", nargs=-1)
@click.option("--reason", help="All dead letters with this reason.")
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Set a field first; VALUE is JSON or text.")
def replay_dead_letters(
    dead_letter_ids: tuple[str, ...], reason: str | None, fields: tuple[str, ...], file: Path | None, **options: Any
) -> None:
    """Append dead letters to the log and mark them as replayed; repeating this has no effect."""
    from streams.operation.dead_letters import replay

    settings = load_settings(file, **options)
    if not dead_letter_ids and reason is None:
        raise click.UsageError("give the ids of dead letters, or --reason")
    wanted = [_dead_letter(settings, one) for one in dead_letter_ids] or _dead_letters(settings, reason, False)
    replayed, problems = asyncio.run(replay(wanted, dict(map(_parse_field, fields)), settings))
    click.echo(f"{replayed} replayed, {sum(bool(letter.replayed) for letter in wanted)} had been replayed before")
    if problems:
        raise OperatorError("; ".join(problems))


@dead_letters.command(name="remove")
@settings_options
@click.argument("dead_letter_ids", nargs=-1, required=True)
def remove_dead_letters(dead_letter_ids: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Delete dead letters permanently, with their original bytes."""
    from streams.kafka import admin
    from streams.kafka.topics import DEAD_LETTERS

    settings = load_settings(file, **options)
    wanted = [_dead_letter(settings, one) for one in dead_letter_ids]
    for letter in wanted:
        asyncio.run(admin.publish(settings, DEAD_LETTERS, letter.id.encode(), None))
    click.echo(f"{len(wanted)} removed; Kafka deletes their bytes when it compacts the topic")


def _dead_letters(settings: Settings, reason: str | None, include_replayed: bool) -> list[DeadLetter]:
    """Read the dead letters, oldest first; with a reason, only those."""
    from streams.kafka import admin
    from streams.operation.dead_letters import read_dead_letters

    admin.check_topics(settings)
    return [
        letter
        for letter in asyncio.run(read_dead_letters(settings)).values()
        if (reason is None or letter.reason == reason) and (include_replayed or not letter.replayed)
    ]


def _dead_letter(settings: Settings, dead_letter_id: str) -> DeadLetter:
    for letter in _dead_letters(settings, None, True):
        if letter.id == dead_letter_id:
            return letter
    raise OperatorError(f"no dead letter {dead_letter_id}")


def _parse_field(text: str) -> tuple[str, Any]:
    """Split FIELD=VALUE; a value that is not JSON is text."""
    import orjson

    field, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: expected FIELD=VALUE")
    try:
        return field, orjson.loads(value)
    except orjson.JSONDecodeError:
        return field, value


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Write it to this file instead of the terminal.")
def contract(out: Path | None) -> None:
    """Print the AsyncAPI contract of all input and output topics."""
    from streams.operation.contract import as_yaml

    if out is None:
        click.echo(as_yaml(), nl=False)
    else:
        try:
            out.write_text(as_yaml())
        except OSError as error:
            raise OperatorError(f"{out}: {error.strerror}") from None
