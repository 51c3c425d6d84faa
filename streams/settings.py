"""Settings: one frozen object, read once from a TOML file and the environment; a wrong one is rejected by name.

Every setting `x` is the key `x` of the file that `ENCORE_SETTINGS` names, or the environment variable `ENCORE_X`.
The environment has priority. Durations are seconds, or a number with a unit: `90s`, `10m`, `12h`, `7d`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct

from models.person.activity import DAY
from models.person.rules import ACTIVE_KINDS, Rules
from models.schema.events import KINDS

Duration = Annotated[float, Meta(ge=0, le=3_650 * DAY, extra={"unit": "duration"})]
Positive = Annotated[float, Meta(gt=0, le=3_650 * DAY, extra={"unit": "duration"})]
Share = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Names = tuple[str, ...]
Agent = Literal["ingest", "users", "courses", "trainer"]

_PREFIX = "ENCORE_"
OWN_TOPICS = {
    "campaigns", "coupon-triggers", "course-audiences", "course-catalog", "course-rows", "dead-letters", "decisions",
    "encore-meta", "events", "examples", "interactions", "list-examples", "model-snapshots", "people-changelog",
    "recommendations", "retention-alerts", "user-profiles",
}  # fmt: skip
"""Topics that Encore writes itself; an input must not have one of these names."""
_NOT_SETTINGS = ("ENCORE_SETTINGS", "ENCORE_TEST_")
RENAMED = {
    "most_bytes": "max_record_bytes",
    "most_failures": "max_failures",
    "hot_people": "cached_users",
    "listing_time": "recommendation_time",
}
"""Old names of settings. They are rejected with a message that gives the new name."""
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}


class SettingsError(Exception):
    """A setting is wrong; the message begins with its name."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a worker. The text after a field is its meaning in the reference tables."""

    broker: str = "kafka://127.0.0.1:9092"
    """Kafka's bootstrap servers: `kafka://host:port`, several separated by `;` or `,`"""
    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$(?!\n)")] = "encore"
    """name of the workers' consumer group; the topics of one prefix belong to one group"""
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$(?!\n)")] = ""
    """prefix of every topic name; another prefix is an independent Encore with its own state"""
    inputs: Names = ("learning-events", "purchase-events", "coupon-events", "user-updates")
    """topics that the agent `ingest` reads"""
    mapping: Names = ()
    """mapping files for inputs that hold a platform's own objects: `FILE` for all inputs, or `TOPIC=FILE`, several"""
    agents: tuple[Agent, ...] = ("ingest", "users", "courses", "trainer")
    """agents that run in this worker"""
    mode: Literal["live", "shadow"] = "live"
    """`shadow`: all decisions are made and recorded, but no alert and no coupon trigger is sent"""
    partitions: Annotated[int, Meta(ge=1, le=1_000)] = 16
    """number of partitions of a new topic; never changed afterwards"""
    replication: Annotated[int, Meta(ge=-1, le=10)] = -1
    """replication factor of a new topic; -1 takes the broker's default"""
    clock: Literal["wall", "source"] = "wall"
    """who writes ticks: the worker (`wall`), or the sender of a history or simulation (`source`)"""
    expiry: Literal["wall", "log"] = "wall"
    """clock that decides whether an output has expired: the machine's, or the log's (for simulations)"""
    active_kinds: tuple[str, ...] = tuple(sorted(ACTIVE_KINDS))
    """churn label, part 1: event types that count as activity"""
    horizon: Positive = 14 * DAY
    """churn label, part 2: no such event for this long is churn"""
    lookback: Positive = 28 * DAY
    """churn label, part 3: only users with such an event in this period are scored"""
    lateness: Annotated[float, Meta(ge=0, le=DAY / 2, extra={"unit": "duration"})] = 3_600.0
    """how far events may be out of order"""
    skew: Duration = 300.0
    """how far an event time may be ahead of the log's time; beyond that, the event is a dead letter"""
    wake_every: Annotated[float, Meta(ge=1, le=3_650 * DAY, extra={"unit": "duration"})] = DAY
    """time between two scores of a silent user"""
    rescore_after: Duration = 3_600.0
    """minimum time between two scores that learning events of a user cause"""
    tick_every: Positive = 10.0
    """time between two ticks of a partition"""
    stall: Positive = 12 * 3_600.0
    """a normally busy log without events for this long holds its ticks"""
    prior_churn: Share = 0.3
    """churn probability that is reported until the model has enough labels"""
    labels_needed: Annotated[int, Meta(ge=0)] = 500
    """number of labels that is enough"""
    alerts_wait: bool = True
    """whether tiers and alerts wait for enough labels"""
    model: Literal["net", "logistic"] = "net"
    """churn model: the replay net, or the logistic regression that otherwise is the reference model"""
    challenger: Annotated[str, Meta(pattern=r"^(river(\.[A-Za-z_]\w*){2,})?$(?!\n)")] = ""
    """a River classifier, such as `river.tree.HoeffdingAdaptiveTreeClassifier`, trained in shadow mode"""
    high: Share = 0.7
    """churn probability from which the tier is high"""
    medium: Share = 0.4
    """churn probability from which the tier is medium"""
    margin: Annotated[float, Meta(ge=0, le=0.5)] = 0.05
    """how far a probability must be beyond a threshold to change the tier"""
    dwell: Duration = 2 * DAY
    """minimum time in a tier"""
    stalled_after: Positive = 7 * DAY
    """silence in a started course after which the course counts as stalled"""
    alert_lasts: Positive = DAY
    """time after which an alert has expired"""
    recommend: bool = True
    """whether preferences of users are kept and courses are recommended"""
    repeats: Literal["none", "unfinished", "all"] = "none"
    """used courses that may be recommended again: `none`, the `unfinished` ones that were not bought, or `all`"""
    recommendation_time: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    """maximum share of a worker's time that is spent on recommendations"""
    pseudonym_key: Annotated[str, Meta(max_length=64)] = ""
    """secret key of the hash that replaces user ids where records cannot be erased; never changed afterwards"""
    engine: Literal["fast", "plain"] = "fast"
    """`plain`: single records, a changelog record per event and Faust's own recovery; much slower, same results"""
    store: Literal["memory", "rocksdb"] = "memory"
    """where the state of inactive users is held locally; the changelog holds all of it in any case"""
    data_folder: str = ""
    """folder for `store = rocksdb`, of one worker only; on a persistent disk, a restart reads only new records"""
    chunk: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    """maximum number of records handed to an agent at once"""
    commit_every: Positive = 1.0
    """time between commits of offsets"""
    cached_users: Annotated[int, Meta(ge=1)] = 20_000
    """number of decoded users in memory per partition"""
    max_record_bytes: Annotated[int, Meta(ge=300_000, le=100_000_000)] = 900_000
    """maximum size of a record that is read or written"""
    max_failures: Annotated[int, Meta(ge=1)] = 20
    """consecutive unexpected exceptions after which the worker stops instead of writing more dead letters"""
    session_timeout: Annotated[float, Meta(ge=6, le=1_800, extra={"unit": "duration"})] = 60.0
    """time without a heartbeat after which Kafka assigns a worker's partitions to others"""
    web_host: str = "127.0.0.1"
    """address of the web server"""
    web_port: Port = 6066
    """port of the web server"""
    web_url: str = ""
    """URL at which other workers reach this web server, if it differs from that address"""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """security protocol for Kafka"""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """SASL mechanism"""
    sasl_username: str = ""
    """SASL user name"""
    sasl_password: str = ""
    """SASL password"""
    ssl_cafile: str = ""
    """file of the certificate authority; if empty, the system's authorities are used"""
    ssl_certfile: str = ""
    """file of the client certificate, if Kafka requires one"""
    ssl_keyfile: str = ""
    """file of its private key"""
    ssl_check_hostname: bool = True
    """whether the certificate must match the broker's host name"""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """minimum level of log messages"""
    embedded: bool = False
    """whether the broker is the embedded one of the demo, which cannot describe its topics"""

    def rules(self) -> Rules:
        """Return the settings that the business rules use."""
        names = {field for field in Rules.__struct_fields__ if field in self.__struct_fields__}
        values = {name: getattr(self, name) for name in names}
        values |= {"active_kinds": frozenset(self.active_kinds), "pseudonym_key": self.pseudonym_key.encode()}
        return Rules(**values)

    @property
    def bootstrap(self) -> list[str]:
        """Kafka's bootstrap servers as host:port."""
        servers = [server.strip() for server in re.split("[;,]", self.broker)]
        return [re.sub(r"^[a-z]+://", "", server) for server in servers if server]


def load(
    environment: Mapping[str, str], file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings.

    Args:
        environment: usually `os.environ`; only `ENCORE_*` is read.
        file: a TOML file; without it, the one that `ENCORE_SETTINGS` names.
        overrides: values with priority over both, such as command-line options; a value of None is ignored.

    Raises:
        SettingsError: a setting is unknown, renamed or has an impossible value; the message names it.
    """
    path = file or (Path(environment["ENCORE_SETTINGS"]) if environment.get("ENCORE_SETTINGS") else None)
    values: dict[str, Any] = _read_file(path) if path else {}
    for variable, text in environment.items():
        if variable.startswith(_PREFIX) and not variable.startswith(_NOT_SETTINGS):
            name = variable.removeprefix(_PREFIX).lower()
            _check_name(name, variable, _PREFIX + RENAMED.get(name, "").upper())
            values[name] = text
    values |= {name: value for name, value in (overrides or {}).items() if value is not None}
    return _validate({name: _parse_text(name, value) for name, value in values.items()})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    for name in values:
        _check_name(name, f"{path}: {name}", RENAMED.get(name, ""))
    return values


def _check_name(name: str, place: str, new_name: str) -> None:
    """Reject a name that is not a setting, in a message with its place and, if it was renamed, the new name there."""
    if name in Settings.__struct_fields__:
        return
    if name in RENAMED:
        raise SettingsError(f"{place}: renamed to {new_name}")
    if name == "processing_guarantee":
        raise SettingsError(
            f"{place}: Faust's exactly_once loses and repeats events; Encore stores the input offsets with each "
            "user's state, so the state is exact without it"
        )
    near = difflib.get_close_matches(name, Settings.__struct_fields__, 1)
    raise SettingsError(f"{place}: no such setting" + (f"; did you mean {near[0]}?" if near else ""))


_HINTS = get_type_hints(Settings, include_extras=True)


def _parse_text(name: str, value: object) -> object:
    """Parse the text of a duration, number, list or flag; everything else is left to the type check."""
    if not isinstance(value, str):
        return value
    hint = _HINTS[name]
    plain = getattr(hint, "__origin__", hint)
    if plain is bool:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(value.lower(), value)
    if plain is tuple:
        return [part.strip() for part in value.split(",") if part.strip()]
    if plain not in (int, float):
        return value
    found = re.fullmatch(r"([-+0-9.e]+)\s*([smhd]?)", value.strip())
    timed = any(meta.extra == {"unit": "duration"} for meta in getattr(hint, "__metadata__", ()))
    if not found or (found.group(2) and not timed):
        return value
    try:
        return plain(found.group(1)) * _UNITS[found.group(2) or "s"] if timed else plain(found.group(1))
    except ValueError:
        return value


def _validate(values: dict[str, Any]) -> Settings:
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        raise SettingsError(f"{where.rstrip('`') or 'settings'}: {text}") from None
    unknown = [kind for kind in settings.active_kinds if kind not in KINDS]
    if unknown:
        raise SettingsError(f"active_kinds: no such event type: {', '.join(unknown)}")
    if len(set(settings.inputs) - OWN_TOPICS) < len(settings.inputs):
        raise SettingsError(
            f"inputs: {', '.join(settings.inputs)}: contains a topic twice, or one that Encore writes itself"
        )
    for wrong, text in _conflicts(settings):
        if wrong:
            raise SettingsError(text)
    return settings


def _conflicts(one: Settings) -> list[tuple[bool, str]]:
    """Return the rules between settings: whether each is violated, and its error message."""
    high, low = one.high + one.margin, one.medium - one.margin
    sasl = one.security_protocol.startswith("SASL")
    return [
        (not one.agents, "agents: empty; a worker runs at least one of ingest, users, courses and trainer"),
        (not one.inputs and "ingest" in one.agents, "inputs: empty, and the agent ingest reads nothing else"),
        (one.medium >= one.high, f"medium: {one.medium} is not below high ({one.high})"),
        (high > 1, f"margin: high + margin is {high:g}, and no probability is above 1"),
        (low < 0, f"margin: medium - margin is {low:g}, and no probability is below 0"),
        (one.skew > one.lateness, "skew: must not exceed lateness, or one event from the future makes others late"),
        (
            one.alert_lasts <= one.lateness,
            "alert_lasts: must exceed lateness, because alerts about silence are sent that much later",
        ),
        (sasl and not one.sasl_username, "sasl_username: needed for security_protocol " + one.security_protocol),
        (one.store == "rocksdb" and not one.data_folder, "data_folder: needed for store rocksdb"),
        (not one.bootstrap, "broker: contains no server"),
    ]
