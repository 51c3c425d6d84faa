"""The README lists what there is: its tables are those that the code makes, and nothing in them is without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.offers import campaign
from models.schema import errors
from streams import metrics
from streams.kafka import topics
from streams.settings import Settings, load
from tests import reference

README = Path(__file__).parents[1] / "README.md"
RENEW = "python -m tests.reference README.md"

TABLES = reference.tables()
LISTED: dict[str, list[str]] = {
    "settings": list(Settings.__struct_fields__),
    "metrics": list(metrics.METRICS),
    "topics": [topic.name for topic in topics.topics(Settings())],
    "dead-letters": list(errors.REASONS),
    "decisions": list(campaign.REASONS),
}


def rows(name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    return [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in TABLES[name].splitlines()[2:]]


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_has_the_table(name: str) -> None:
    """What the README lists is what the code has."""
    found = re.search(rf"<!-- {name} -->\n\n(.*?)\n<!-- /{name} -->", README.read_text(), re.DOTALL)
    assert found, f"README.md has no <!-- {name} --> ... <!-- /{name} -->: put them there, then {RENEW}"
    assert found[1] == TABLES[name], f"the table {name} of README.md is stale: {RENEW}"


@pytest.mark.parametrize("name", LISTED)
def test_the_tables_leave_nothing_out(name: str) -> None:
    """Each thing has a row of its own, in the order of the code."""
    assert [row[0].strip("`") for row in rows(name)] == LISTED[name]


@pytest.mark.parametrize("name", TABLES)
def test_everything_has_a_meaning(name: str) -> None:
    """The last cell, which says what it is, is never empty."""
    assert all(len(row) > 1 and row[-1].strip() for row in rows(name))


def test_the_defaults_can_be_given_back() -> None:
    """What the table shows as a default is what the environment may say, and means the same."""
    shown = {row[1].strip("`"): row[2].strip("`") for row in rows("settings") if row[2] != "empty"}
    assert load(shown) == Settings()


def test_every_command_is_listed() -> None:
    """Also those below another, with what they have to be given."""
    commands = [row[0].strip("`") for row in rows("commands")]

    assert "encore worker" in commands
    assert "encore campaign apply CAMPAIGN_FILE" in commands
    assert len(commands) == len(set(commands))


def test_renewing_changes_only_what_stands_between_the_comments() -> None:
    """A text with every pair of comments gets every table; a second time changes nothing."""
    text = "# Title\n" + "".join(f"words\n<!-- {name} -->\nsuperseded\n<!-- /{name} -->\n" for name in TABLES) + "end\n"
    renewed = reference.renewed(text)

    assert all(table in renewed for table in TABLES.values()) and "superseded" not in renewed
    assert renewed.startswith("# Title\nwords\n") and renewed.endswith("end\n")
    assert reference.renewed(renewed) == renewed


def test_missing_comments_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A README without a table's place is left as it is, and the place is named."""
    file = tmp_path / "README.md"
    file.write_text("nothing\n")

    assert reference.main([str(file)]) == 2
    assert "<!-- commands --> and <!-- /commands --> are missing" in capsys.readouterr().err
    assert file.read_text() == "nothing\n"
