"""The command line. See `streams.operation.commands` for the rule by which commands import what they run."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from streams.errors import OperatorError
from streams.history.simulation import drift as drifts
from streams.history.simulation.drift import DriftName
from streams.operation import commands
from streams.operation.commands import load_settings, settings_options
from streams.settings import SettingsError

UTC_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Encore predicts which users of a learning platform are about to leave, and why.

    It reads learning and purchase events from Kafka and publishes alerts, coupons and recommendations. Start with
    `encore demo`. On your own Kafka, run `encore topics create`, then `encore worker`.
    """


for command in (
    commands.topics, commands.campaign, commands.clock, commands.dead_letters, commands.contract,
):  # fmt: skip
    cli.add_command(command)


@cli.command()
@settings_options
@click.option("--agents", help="Agents of this worker: ingest,users,courses,trainer (all by default).")
@click.option("--web-port", help="Port of /metrics, /healthz, /readyz and /users/{id}.")
@click.option("--mode", help="live, or shadow: record decisions, send no alert or coupon trigger.")
def worker(file: Path | None, **options: Any) -> None:
    """Run the agents. Several workers divide the partitions between them."""
    from streams.app import run
    from streams.kafka import admin

    settings = load_settings(file, **options)
    sys.exit(run(settings, admin.claim_state(settings)))


@cli.command()
@click.option("--source", default="simulation", type=click.Choice(["simulation", "sample"]), help="Events to play.")
@click.option("--forever", is_flag=True, help="Continue until interrupted.")
@click.option("--seed", default=1, show_default=True, help="Seed of the simulated platform.")
@click.option("--drift", type=click.Choice(drifts.NAMES), help="What changes in the simulation halfway.")
def demo(source: Literal["simulation", "sample"], forever: bool, seed: int, drift: DriftName | None) -> None:
    """Play three months of a platform in about two minutes, on an embedded broker."""
    from streams.demo.run import run

    if drift and source != "simulation":
        raise click.UsageError("--drift: only a simulation can change; remove --source")
    sys.exit(run(source=source, forever=forever, seed=seed, drift=drift))


def history_options(command: Any) -> Any:
    """Add the options that say how a history is read: --mapping, --since and --until."""
    for option in (
        click.option("--until", type=UTC_TIME, help="Advance time up to this moment and skip later events (UTC)."),
        click.option("--since", type=UTC_TIME, help="Skip earlier events (UTC)."),
        click.option("--mapping", type=click.Path(path_type=Path), help="A TOML file that maps foreign events."),
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--settings", "file", type=click.Path(path_type=Path), help="A TOML file of settings.")
@history_options
@click.option("--model", type=click.Path(path_type=Path), help="Start with the model that --save-model wrote.")
@click.option("--frozen", is_flag=True, help="Do not train: score with --model throughout.")
@click.option("--campaign", type=click.Path(path_type=Path), help="A campaign file; the campaign runs throughout.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the outputs and the report (index.html).")
@click.option("--save-model", type=click.Path(path_type=Path), help="Write the trained model to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay(file: Path | None, since: datetime | None, until: datetime | None, as_json: bool, **options: Any) -> None:
    """Run a history through Encore without Kafka: outputs, decisions, and how good the model would have been.

    SOURCES are files of events, one JSON object per line (plain, .gz, .zst, or - for standard input).
    """
    import msgspec
    import orjson
    from rich.console import Console

    from streams.history.command import ReplayOptions
    from streams.history.command import replay as play
    from streams.report.summary import summary_text

    chosen = ReplayOptions(since=_seconds(since), until=_seconds(until), **options)
    if chosen.frozen and chosen.model is None:
        raise click.UsageError("--frozen needs --model")
    summary, _ = play(load_settings(file), chosen, Console(stderr=True))
    title = ", ".join(chosen.sources)
    click.echo(orjson.dumps(msgspec.to_builtins(summary)) if as_json else summary_text(summary, title))


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@settings_options
@history_options
@click.option("--to", metavar="TOPIC", help="An input topic, to be read by ingest; without it, directly to the log.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), help="Seconds of history per second; 3600: an hour.")
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
    **options: Any,
) -> None:
    """Send a history to Kafka: the events that `replay` plays, for workers with clock = source.

    It sends as fast as the workers read, with ticks of the history's own time. It ends when all work that was due by
    its last event is done. Outputs that have expired by now are not sent. An interrupted run that writes directly to
    the log continues where it stopped.
    """
    import msgspec
    import orjson
    from rich.console import Console

    from streams.history import sending

    chosen = sending.SendOptions(sources, _seconds(since), _seconds(until), mapping, to, speed)
    sent = sending.send(load_settings(file, **options), chosen, Console(stderr=True))
    click.echo(orjson.dumps(msgspec.to_builtins(sent)) if as_json else sending.summary_text(sent))


@cli.group()
def model() -> None:
    """Start with a model that a replay has trained."""


@model.command(name="publish")
@settings_options
@click.argument("model_file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace the model that is already published.")
def model_publish(model_file: Path, replace: bool, file: Path | None, **options: Any) -> None:
    """Publish the model that `replay --save-model` wrote; workers score with it and the trainer continues from it."""
    import asyncio

    from streams.history import model_file as model_files
    from streams.kafka import admin

    settings = load_settings(file, **options)
    snapshot = model_files.read_model(model_file)
    admin.check_topics(settings)
    asyncio.run(model_files.publish_model(settings, snapshot, replace))
    click.echo(f"a model of {snapshot.labels} labels is published")


class EvaluationPart(click.Choice[str]):
    """The values of `--only`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a value; `taste` gets an error that names `recommendations`."""
        if value == "taste":
            raise click.BadParameter("`taste` is not a part: use `--only recommendations`", ctx, param)
        return super().convert(value, param, ctx)


@cli.command()
@click.option("--data", type=click.Path(path_type=Path), help="A folder with oulad/, completejourney/, cdnow/ etc.")
@click.option("--dataset", "names", multiple=True, help="Only this data set; may be given several times.")
@click.option(
    "--people",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each data set's users for whom churn is evaluated; 1 is all of them.",
)
@click.option(
    "--only",
    type=EvaluationPart(["churn", "recommendations", "drift"]),
    help="Only the churn model, only recommendations, or only the churn model in simulations that drift.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def evaluate(data: Path | None, names: tuple[str, ...], people: float | None, only: str | None, as_json: bool) -> None:
    """Evaluate the churn model and the recommendations on real data, compared with baselines.

    The baselines of the churn model are recency, logistic regression and weekly gradient boosting. Without --data, it
    runs on the sample of real history in the package. The baselines of the recommendations are popularity, a window
    cosine and an embedding. Every score and list is computed before its outcome is known, and learned from afterwards.
    With --only drift, simulations change. There the model is compared with one that waits for labels and one that
    gets them at once.
    """
    from streams.runtime import require_library

    for library in ("pyarrow", "sklearn"):
        require_library(library, "encore evaluate")
    from streams.evaluation.command import run

    run(data, names, people, as_json, only)


def _seconds(moment: datetime | None) -> float | None:
    """Convert a UTC time to seconds since 1970."""
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def main() -> None:
    """Run a command. An error that the operator can fix is one line on stderr and exit code 2.

    Errors from Kafka are reported the same way: an unreachable broker, a topic without permission.
    """
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
    except Exception as error:
        if not _is_kafka_error(error):
            raise
        click.echo(f"encore: Kafka: {' '.join(str(error).split()) or type(error).__name__}", err=True)
        sys.exit(2)


def _is_kafka_error(error: Exception) -> bool:
    """Return whether an error comes from one of the Kafka clients, or from waiting for the broker."""
    from aiokafka.errors import KafkaError
    from confluent_kafka import KafkaException

    return isinstance(error, KafkaError | KafkaException | TimeoutError)


if __name__ == "__main__":
    main()
