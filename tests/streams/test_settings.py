"""Settings: one object from a file and the environment; every wrong value is rejected by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.person.activity import DAY
from models.person.rules import Rules
from streams.settings import RENAMED, Settings, SettingsError, load

WRONG = [
    ("group", "a b"), ("group", ""), ("prefix", "ü"), ("agents", "ingest,cook"), ("mode", "dry"),
    ("partitions", "0"), ("partitions", "1001"), ("partitions", "1.5"), ("partitions", "many"), ("replication", "-2"),
    ("replication", "11"), ("clock", "sun"), ("expiry", "never"), ("active_kinds", "login,loggin"), ("horizon", "0"),
    ("horizon", "-1d"), ("horizon", "2w"), ("horizon", "4000d"), ("horizon", "1..2"), ("horizon", ""),
    ("lookback", "0"), ("lateness", "13h"), ("lateness", "-1"), ("skew", "-1s"), ("skew", "soon"), ("wake_every", "0"),
    ("rescore_after", "-1"), ("tick_every", "0"), ("stall", "0"), ("prior_churn", "1.1"), ("prior_churn", "nan"),
    ("labels_needed", "-1"), ("labels_needed", "2d"), ("model", "forest"), ("challenger", "os.system"),
    ("challenger", "river"), ("challenger", "river.tree.x y"), ("alerts_wait", "maybe"), ("high", "2"),
    ("high", "0.5d"),
    ("medium", "-0.1"), ("medium", "0.7"), ("medium", "0.9"), ("margin", "0.6"), ("dwell", "-1"),
    ("stalled_after", "0"), ("alert_lasts", "0"), ("pseudonym_key", "k" * 65), ("chunk", "0"), ("chunk", "10001"),
    ("chunk", ""), ("commit_every", "0"), ("cached_users", "0"), ("max_record_bytes", "9999"),
    ("max_record_bytes", "100000001"), ("max_failures", "0"), ("session_timeout", "5"), ("session_timeout", "2h"),
    ("web_port", "-1"),
    ("web_port", "65536"), ("security_protocol", "TLS"), ("sasl_mechanism", "GSSAPI"), ("ssl_check_hostname", "2"),
    ("log_level", "loud"), ("embedded", "perhaps"), ("inputs", "learning-events,events"),
]  # fmt: skip
CHANGED = {
    "active_kinds": ("login", "purchase"), "horizon": 5 * DAY, "lookback": 6 * DAY, "lateness": 60.0,
    "wake_every": 3_600.0, "rescore_after": 7.0, "prior_churn": 0.2, "labels_needed": 9, "alerts_wait": False,
    "high": 0.9, "medium": 0.2, "margin": 0.01, "dwell": 8.0, "stalled_after": 9.0, "alert_lasts": 10.0,
    "recommend": False, "pseudonym_key": "key",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "encore.toml"


def rejected(environment: dict[str, str], file: Path | None = None, given: dict[str, object] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environment, file, given)
    return str(caught.value)


def test_nothing_has_to_be_set() -> None:
    """Every setting has a default, and the defaults are valid."""
    assert load({}) == load({"HOME": "/root", "ENCORE_TEST_BROKER": "b", "ENCORE_SETTINGS": ""}) == Settings()
    assert len(Settings.__struct_defaults__) == len(Settings.__struct_fields__)


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_rejected_by_name(name: str, text: str) -> None:
    """The message is one line and begins with the name of the setting."""
    message = rejected({f"ENCORE_{name.upper()}": text})
    assert message.startswith(name)
    assert "\n" not in message


@pytest.mark.parametrize(
    "line",
    ["skew = nan", "high = nan", "horizon = inf", "partitions = true", "chunk = 5.0", "web_port = 1979-05-27",
     "active_kinds = [1]", "alerts_wait = 1", "broker = 9092", "inputs = [['a']]"],
)  # fmt: skip
def test_a_wrong_type_in_a_file_is_rejected_by_name(line: str, file: Path) -> None:
    """TOML has its own types; here, a value of the wrong type is invalid."""
    file.write_text(line)
    assert rejected({}, file).startswith(line.partition(" ")[0])


def test_an_unknown_setting_is_rejected_with_the_nearest_name(file: Path) -> None:
    """In the environment and in a file, with its place."""
    assert rejected({"ENCORE_HORIZN": "1d"}) == "ENCORE_HORIZN: no such setting; did you mean horizon?"
    file.write_text("quux = 1")
    assert rejected({}, file) == f"{file}: quux: no such setting"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_setting_is_rejected_with_its_new_name(old: str, new: str, file: Path) -> None:
    """In the environment and in a file, spelled as it has to be in that place."""
    assert rejected({f"ENCORE_{old.upper()}": "1"}) == f"ENCORE_{old.upper()}: renamed to ENCORE_{new.upper()}"
    file.write_text(f"{old} = 1")
    assert rejected({}, file) == f"{file}: {old}: renamed to {new}"


def test_no_old_name_is_used_again() -> None:
    """An old name that meant something else would be ambiguous."""
    assert set(RENAMED.values()) <= set(Settings.__struct_fields__)
    assert not set(RENAMED) & set(Settings.__struct_fields__)


def test_exactly_once_of_faust_is_rejected_with_the_reason() -> None:
    """The message explains why the setting does not exist."""
    assert "loses and repeats events" in rejected({"ENCORE_PROCESSING_GUARANTEE": "exactly_once"})


def test_sasl_needs_a_user_name() -> None:
    """SASL without a user name is rejected."""
    assert rejected({"ENCORE_SECURITY_PROTOCOL": "SASL_SSL"}).startswith("sasl_username")
    assert load({"ENCORE_SECURITY_PROTOCOL": "SASL_SSL", "ENCORE_SASL_USERNAME": "me"}).sasl_username == "me"


def test_options_override_the_environment_which_overrides_the_file(file: Path) -> None:
    """Three sources in this order; an option of None is ignored."""
    file.write_text('group = "file"\nprefix = "file"\nmode = "shadow"\nweb_port = 1')
    environment = {"ENCORE_GROUP": "environment", "ENCORE_PREFIX": "environment", "ENCORE_SETTINGS": str(file)}
    settings = load(environment, None, {"group": "given", "prefix": None, "web_port": "2"})
    assert (settings.group, settings.prefix, settings.mode) == ("given", "environment", "shadow")
    assert settings.web_port == 2


def test_a_given_file_replaces_that_of_the_environment(file: Path, tmp_path: Path) -> None:
    """The file of ENCORE_SETTINGS is not even opened."""
    file.write_text('group = "named"')
    assert load({"ENCORE_SETTINGS": str(tmp_path / "absent.toml")}, file).group == "named"


@pytest.mark.parametrize("contents", [b"a = [", b"\xff\xfe", b"= 1", None])
def test_a_file_that_cannot_be_read_is_named(contents: bytes | None, file: Path) -> None:
    """A missing file, invalid TOML, or no text: one line with the path."""
    if contents is not None:
        file.write_bytes(contents)
    assert rejected({"ENCORE_SETTINGS": str(file)}).startswith(f"{file}: ")


@given(st.integers(1, 3_000), st.sampled_from(["s", "m", "h", "d", ""]), st.sampled_from(["", " "]), st.booleans())
def test_durations_have_units(number: int, unit: str, space: str, half: bool) -> None:
    """Seconds, minutes, hours and days; a number without a unit is seconds; fractions and spaces are allowed."""
    said = f"{number}.5" if half else str(number)
    seconds = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "": 1}[unit] * float(said)
    assert load({"ENCORE_DWELL": f" {said}{space}{unit}"}).dwell == seconds


@pytest.mark.parametrize(
    ("text", "meant"), [("true", True), ("YES", True), ("1", True), ("false", False), ("no", False), ("0", False)]
)
def test_flags_have_several_spellings(text: str, meant: bool) -> None:
    """yes, true and 1; no, false and 0."""
    assert load({"ENCORE_ALERTS_WAIT": text}).alerts_wait is meant


@pytest.mark.parametrize(
    ("named", "environment"),
    [
        ("agents", {"AGENTS": " , "}),
        ("broker", {"BROKER": ";"}),
        ("inputs", {"INPUTS": ""}),
        ("margin", {"HIGH": "0.97"}),
        ("margin", {"MEDIUM": "0.1", "MARGIN": "0.2"}),
        ("skew", {"SKEW": "2h"}),
        ("skew", {"LATENESS": "4m"}),
        ("alert_lasts", {"ALERT_LASTS": "1h"}),
        ("wake_every", {"WAKE_EVERY": "0.5s"}),
    ],
)
def test_conflicting_settings_are_rejected_by_name(named: str, environment: dict[str, str]) -> None:
    """An unreachable tier, alerts that always expire, a worker without agents: rejected before anything runs."""
    message = rejected({f"ENCORE_{name}": text for name, text in environment.items()})
    assert message.startswith(f"{named}: ")
    assert "\n" not in message


def test_without_ingest_no_inputs_are_needed() -> None:
    """Other programs may write to the log directly."""
    assert load({"ENCORE_INPUTS": "", "ENCORE_AGENTS": "users"}).inputs == ()


def test_lists_are_separated_by_commas(file: Path) -> None:
    """In the environment; a file may also use TOML lists."""
    assert load({"ENCORE_INPUTS": " a, b,,c "}).inputs == ("a", "b", "c")
    file.write_text('inputs = ["a", "b,c"]')
    assert load({}, file).inputs == ("a", "b,c")


def test_rules_contain_every_business_setting() -> None:
    """Every business rule has a setting, and its value reaches the rules."""
    assert set(Rules.__struct_fields__) == set(CHANGED)
    assert Settings().rules() == Rules()
    rules = Settings(**CHANGED).rules()
    expected = CHANGED | {"active_kinds": frozenset({"login", "purchase"}), "pseudonym_key": b"key"}
    assert {name: getattr(rules, name) for name in CHANGED} == expected
    assert all(getattr(rules, name) != getattr(Rules(), name) for name in CHANGED)


def test_bootstrap_servers_are_hosts_and_ports() -> None:
    """Without the scheme, one or several."""
    assert Settings(broker="kafka://a:1").bootstrap == ["a:1"]
    assert Settings(broker="kafka://a:1;kafka://b:2;c:3;").bootstrap == ["a:1", "b:2", "c:3"]
    assert Settings(broker="kafka://a:1,b:2, kafka://c:3").bootstrap == ["a:1", "b:2", "c:3"]
