"""The reference tables of the documents are those that the code generates, and no entry is without a meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.offers import campaign
from models.schema import errors, event_codec
from models.schema import events as ev
from streams import metrics
from streams.kafka import topics
from streams.settings import Settings, load
from tests import reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "streams/README.md", "deploy/README.md", "deploy/EVENTS.md")
    if (ROOT / name).exists()
]
RENEW = f"python -m tests.reference {' '.join(str(one.relative_to(ROOT)) for one in DOCUMENTS)}"

TABLES = reference.tables()
LISTED: dict[str, list[str]] = {
    "settings": list(Settings.__struct_fields__),
    "metrics": list(metrics.METRICS),
    "topics": [topic.name for topic in topics.topics(Settings())],
    "dead-letters": list(errors.REASONS),
    "decisions": list(campaign.REASONS),
    "event-types": [str(kind.__struct_config__.tag) for kind in (*ev.PERSON_KINDS, *ev.COURSE_KINDS)],
}


def rows(name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    return [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in TABLES[name].splitlines()[2:]]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_in_exactly_one_document(name: str) -> None:
    """A table in two documents could differ; a table in none would be missed."""
    found = [one.name for one in DOCUMENTS if f"<!-- {name} -->" in one.read_text()]
    assert len(found) == 1, f"<!-- {name} --> ... <!-- /{name} --> has to be in one document, and is in {found}"


@pytest.mark.parametrize("name", TABLES)
def test_the_documents_are_not_stale(name: str) -> None:
    """A document has the table that the code generates."""
    (text,) = [text for one in DOCUMENTS if f"<!-- {name} -->" in (text := one.read_text())]
    found = re.search(rf"<!-- {name} -->\n\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    assert found, f"<!-- /{name} --> is missing after <!-- {name} -->"
    assert found[1] == TABLES[name], f"the table {name} is stale: {RENEW}"


@pytest.mark.parametrize("name", LISTED)
def test_the_tables_are_complete(name: str) -> None:
    """Each entry has its own row, in the order of the code."""
    assert [row[0].strip("`") for row in rows(name)] == LISTED[name]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_meaning(name: str) -> None:
    """The last cell is never empty."""
    assert all(len(row) > 1 and row[-1].strip() for row in rows(name))


def test_the_defaults_are_valid_values() -> None:
    """A default of the table is a valid value in the environment, with the same meaning."""
    shown = {row[1].strip("`"): row[2].strip("`") for row in rows("settings") if row[2] != "empty"}
    assert load(shown) == Settings()


def test_every_command_is_listed() -> None:
    """Including subcommands, with their arguments."""
    commands = [row[0].strip("`") for row in rows("commands")]

    assert "encore worker" in commands
    assert "encore campaign apply CAMPAIGN_FILE" in commands
    assert len(commands) == len(set(commands))


def test_renewing_changes_only_the_text_between_the_comments() -> None:
    """A text with all comments gets all tables; renewing again changes nothing."""
    text = "# Title\n" + "".join(f"words\n<!-- {name} -->\nsuperseded\n<!-- /{name} -->\n" for name in TABLES) + "end\n"
    renewed = reference.renew(text)

    assert all(table in renewed for table in TABLES.values()) and "superseded" not in renewed
    assert renewed.startswith("# Title\nwords\n") and renewed.endswith("end\n")
    assert reference.renew(renewed) == renewed


def test_a_document_gets_the_tables_that_it_has_comments_for() -> None:
    """Only these; everything else stays as it is."""
    renewed = reference.renew("before\n<!-- topics -->\nsuperseded\n<!-- /topics -->\nafter\n")
    assert renewed == f"before\n<!-- topics -->\n\n{TABLES['topics']}\n<!-- /topics -->\nafter\n"


def test_several_files_are_renewed_at_once(tmp_path: Path) -> None:
    """Each gets its own tables."""
    files = [tmp_path / f"{name}.md" for name in TABLES]
    for name, file in zip(TABLES, files, strict=True):
        file.write_text(f"<!-- {name} -->\n<!-- /{name} -->\n")
    assert reference.main([str(file) for file in files]) == 0
    assert all(TABLES[name] in file.read_text() for name, file in zip(TABLES, files, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing\n", "no table"),
        ("<!-- topics -->\n", "<!-- /topics --> is missing after <!-- topics -->"),
    ],
)
def test_missing_comments_are_named(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is left as it is."""
    file = tmp_path / "README.md"
    file.write_text(text)

    assert reference.main([str(file)]) == 2
    assert message in capsys.readouterr().err
    assert file.read_text() == text


def test_event_types_have_fields_limits_and_a_valid_example() -> None:
    """Every field of a type is named once, and its example is an event of that type."""
    for name, _, required, optional, example in rows("event-types"):
        event = event_codec.decode(example.strip("`").encode())
        assert f"`{ev.kind_of(event)}`" == name
        fields = re.findall(r"`(\w+)` \(", f"{required}, {optional}")
        assert sorted([*fields, "id", "time"]) == sorted(type(event).__struct_fields__)
    (lesson,) = [row for row in rows("event-types") if row[0] == "`lesson_progress`"]
    assert "`minutes` (number, 0 to 1,440 minutes)" in lesson[3]
