"""The command line: a map of the product."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

from streams import admin, campaigns, topics
from streams import settings as settings_
from streams.admin import OperatorError
from streams.clock import wall
from streams.settings import Settings, SettingsError
from streams.snapshots import RELEASE


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
@click.option("--agents", help="What this worker does: ingest,users,trainer (all by default).")
@click.option("--web-port", help="Port of /metrics, /healthz, /readyz and /users/{id}.")
@click.option("--mode", help="live, or shadow: decide and record, send nothing.")
def worker(file: Path | None, **given: Any) -> None:
    """Run the agents. More workers share the partitions between them."""
    from streams.app import run

    chosen = load(file, **given)
    sys.exit(run(chosen, admin.check(chosen)))


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
    asyncio.run(admin.publish(chosen, topics.META, RELEASE, repr(wall()).encode()))
    click.echo("ticks go on")


def main() -> None:
    """Run a command; what an operator has to put right is one line on stderr and exit code 2."""
    try:
        cli(standalone_mode=False)
    except (OperatorError, SettingsError) as error:
        click.echo(f"encore: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
