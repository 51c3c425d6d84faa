"""Settings: one frozen object, read once from a TOML file and the environment, wrong ones refused by name.

Every setting `x` is the key `x` of the file named by `ENCORE_SETTINGS`, or the environment variable `ENCORE_X`, which
wins. Durations are seconds, or a number with a unit: `90s`, `10m`, `12h`, `7d`.
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
"""Names that no input may have."""
_OTHERS = ("ENCORE_SETTINGS", "ENCORE_TEST_")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}


class SettingsError(Exception):
    """A setting is wrong; the message names it."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a worker can be told. The text after a field is its line in the README."""

    broker: str = "kafka://127.0.0.1:9092"
    """Kafka's bootstrap servers: `kafka://host:port`, several separated by `;` or `,`"""
    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$(?!\n)")] = "encore"
    """name of the workers' consumer group; the topics of a prefix belong to one group"""
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$(?!\n)")] = ""
    """put before the name of every topic; another prefix is another Encore, with a state of its own"""
    inputs: Names = ("learning-events", "purchase-events", "coupon-events", "user-updates")
    """topics that ingest reads"""
    mapping: Names = ()
    """mapping files of inputs that hold a platform's own objects: `FILE` for all, or `TOPIC=FILE`, several"""
    agents: tuple[Agent, ...] = ("ingest", "users", "courses", "trainer")
    """what this worker does"""
    mode: Literal["live", "shadow"] = "live"
    """`shadow`: everything is decided and recorded, nothing is sent"""
    partitions: Annotated[int, Meta(ge=1, le=1_000)] = 16
    """partitions of a topic when it is made; never changed afterwards"""
    replication: Annotated[int, Meta(ge=-1, le=10)] = -1
    """replicas of a topic when it is made; -1 takes the broker's default"""
    clock: Literal["wall", "source"] = "wall"
    """who writes ticks: the worker, or whoever sends history or a simulation"""
    expiry: Literal["wall", "log"] = "wall"
    """what judges whether an output is old news: the machine's clock, or (in a simulation) the log's"""
    active_kinds: tuple[str, ...] = tuple(sorted(ACTIVE_KINDS))
    """label, first part: the event types that count as being active"""
    horizon: Positive = 14 * DAY
    """label, second part: no such event for this long is churn"""
    lookback: Positive = 28 * DAY
    """label, third part: only people with such an event within this are asked"""
    lateness: Annotated[float, Meta(ge=0, le=DAY / 2, extra={"unit": "duration"})] = 3_600.0
    """how far events may be out of order"""
    skew: Duration = 300.0
    """how far an event may lie beyond the log's time before it is a dead letter"""
    wake_every: Annotated[float, Meta(ge=1, le=3_650 * DAY, extra={"unit": "duration"})] = DAY
    """how often silent people are scored"""
    rescore_after: Duration = 3_600.0
    """least time between two scores caused by a person's learning events"""
    tick_every: Positive = 10.0
    """time between two ticks of a partition"""
    stall: Positive = 12 * 3_600.0
    """a normally busy log without events for this long holds its ticks"""
    prior_churn: Share = 0.3
    """probability stated until the model has learned enough"""
    labels_needed: Annotated[int, Meta(ge=0)] = 500
    """labels that are enough"""
    alerts_wait: bool = True
    """whether tiers and alerts wait for that"""
    model: Literal["net", "logistic"] = "net"
    """what learns churn: the replay net, or the logistic regression that is otherwise the reference beside it"""
    challenger: Annotated[str, Meta(pattern=r"^(river(\.[A-Za-z_]\w*){2,})?$(?!\n)")] = ""
    """a River classifier, such as `river.tree.HoeffdingAdaptiveTreeClassifier`, that learns in the trainer's shadow"""
    high: Share = 0.7
    """churn probability from which the tier is high"""
    medium: Share = 0.4
    """and medium"""
    margin: Annotated[float, Meta(ge=0, le=0.5)] = 0.05
    """how far beyond a threshold a tier changes"""
    dwell: Duration = 2 * DAY
    """least time in a tier"""
    stalled_after: Positive = 7 * DAY
    """silence in a started course that is a stall"""
    alert_lasts: Positive = DAY
    """time until an alert is old news"""
    recommend: bool = True
    """whether what people like is kept, and courses are recommended to them"""
    repeats: Literal["none", "unfinished", "all"] = "none"
    """what is recommended again of that which a person used: `none`, what is `unfinished` and not bought, or `all`"""
    listing_time: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    """share of a worker's time in which recommendations are made"""
    pseudonym_key: Annotated[str, Meta(max_length=64)] = ""
    """secret key of the hash that stands for people on topics that cannot forget; never changed afterwards"""
    engine: Literal["fast", "plain"] = "fast"
    """`plain`: single records, a changelog record per event and Faust's own recovery; much slower, same results"""
    store: Literal["memory", "rocksdb"] = "memory"
    """where people are kept who are not in use; the changelog has them all in any case"""
    data_folder: str = ""
    """folder for `store = rocksdb`, of this worker alone; on a disk that stays, a restart reads only what is new"""
    chunk: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    """most records handed to an agent at once"""
    commit_every: Positive = 1.0
    """time between commits"""
    hot_people: Annotated[int, Meta(ge=1)] = 20_000
    """decoded people kept per partition"""
    most_bytes: Annotated[int, Meta(ge=300_000, le=100_000_000)] = 900_000
    """largest record taken or written"""
    most_failures: Annotated[int, Meta(ge=1)] = 20
    """defects in a row after which the worker stops instead of burying more"""
    session_timeout: Annotated[float, Meta(ge=6, le=1_800, extra={"unit": "duration"})] = 60.0
    """time without a heartbeat after which Kafka gives a worker's partitions away"""
    web_host: str = "127.0.0.1"
    """address of the web server"""
    web_port: Port = 6066
    """its port"""
    web_url: str = ""
    """where other workers reach it, if not at that address"""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """how to speak to Kafka"""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """how to log in there"""
    sasl_username: str = ""
    """as whom"""
    sasl_password: str = ""
    """with which password"""
    ssl_cafile: str = ""
    """certificate authority's file; empty takes the system's"""
    ssl_certfile: str = ""
    """our certificate's file, where Kafka asks for one"""
    ssl_keyfile: str = ""
    """its key's file"""
    ssl_check_hostname: bool = True
    """whether the broker's name must be the certificate's"""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """what is logged"""
    embedded: bool = False
    """the broker is the demo's embedded one, which cannot describe its topics"""

    def rules(self) -> Rules:
        """Return the part of the settings that the business goes by."""
        names = {field for field in Rules.__struct_fields__ if field in self.__struct_fields__}
        values = {name: getattr(self, name) for name in names}
        values |= {"active_kinds": frozenset(self.active_kinds), "pseudonym_key": self.pseudonym_key.encode()}
        return Rules(**values)

    @property
    def bootstrap(self) -> list[str]:
        """Kafka's bootstrap servers as host:port."""
        servers = [server.strip() for server in re.split("[;,]", self.broker)]
        return [re.sub(r"^[a-z]+://", "", server) for server in servers if server]


def load(environment: Mapping[str, str], file: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: usually `os.environ`; of it only `ENCORE_*` is looked at.
        file: a TOML file; without it, the one that `ENCORE_SETTINGS` names.
        given: values that win over both, such as command-line options; those that are None do not count.

    Raises:
        SettingsError: a setting is unknown or has an impossible value; the message names it.
    """
    path = file or (Path(environment["ENCORE_SETTINGS"]) if environment.get("ENCORE_SETTINGS") else None)
    values: dict[str, Any] = _read_file(path) if path else {}
    for name, text in environment.items():
        if name.startswith(_PREFIX) and not name.startswith(_OTHERS):
            values[_check_name(name.removeprefix(_PREFIX).lower(), name)] = text
    values |= {name: value for name, value in (given or {}).items() if value is not None}
    return _validate({name: _parse_text(name, value) for name, value in values.items()})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    return {_check_name(name, f"{path}: {name}"): value for name, value in found.items()}


def _check_name(name: str, said: str) -> str:
    if name in Settings.__struct_fields__:
        return name
    if name == "processing_guarantee":
        raise SettingsError(
            f"{said}: Faust's exactly_once loses and repeats events; here each person's state carries the offsets "
            "that are in it, so state is exact without it"
        )
    near = difflib.get_close_matches(name, Settings.__struct_fields__, 1)
    raise SettingsError(f"{said}: no such setting" + (f"; did you mean {near[0]}?" if near else ""))


_HINTS = get_type_hints(Settings, include_extras=True)


def _parse_text(name: str, value: object) -> object:
    """Turn the text of a duration, number, list or flag into what it means; leave the rest to the type check."""
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
        settings = msgspec.convert(
            values,
            Settings,
        )
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        raise SettingsError(f"{where.rstrip('`') or 'settings'}: {text}") from None
    unknown = [kind for kind in settings.active_kinds if kind not in KINDS]
    if unknown:
        raise SettingsError(f"active_kinds: no such event type: {', '.join(unknown)}")
    if len(set(settings.inputs) - OWN_TOPICS) < len(settings.inputs):
        raise SettingsError(f"inputs: {', '.join(settings.inputs)}: a topic twice, or one that Encore writes itself")
    for wrong, text in _conflicts(settings):
        if wrong:
            raise SettingsError(text)
    return settings


def _conflicts(one: Settings) -> list[tuple[bool, str]]:
    """Return what settings have to be beside each other: whether it is wrong, and what is to be said then."""
    high, low = one.high + one.margin, one.medium - one.margin
    sasl = one.security_protocol.startswith("SASL")
    return [
        (not one.agents, "agents: none is named; a worker does at least one of ingest, users, courses and trainer"),
        (not one.inputs and "ingest" in one.agents, "inputs: none is named, and the agent ingest reads nothing else"),
        (one.medium >= one.high, f"medium: {one.medium} is not below high ({one.high})"),
        (high > 1, f"margin: high + margin is {high:g}, and no probability is above 1"),
        (low < 0, f"margin: medium - margin is {low:g}, and no probability is below 0"),
        (one.skew > one.lateness, "skew: it must not exceed lateness, or one event of the future makes others late"),
        (one.alert_lasts <= one.lateness, "alert_lasts: it must exceed lateness, by which news of silence leave later"),
        (sasl and not one.sasl_username, "sasl_username: needed for security_protocol " + one.security_protocol),
        (one.store == "rocksdb" and not one.data_folder, "data_folder: needed for store rocksdb"),
        (not one.bootstrap, "broker: no server is named"),
    ]
