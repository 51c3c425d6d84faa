"""JSON Lines: plain, gzip, zstd, and standard input; errors name the line."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from streams.errors import OperatorError
from streams.history.sources import HistoryEntry, UnusableEntry, open_source
from streams.history.sources.lines import JsonLines
from streams.settings import Settings
from tests.streams.history.sources.published import entries, reasons, unusable

LOGINS = [ev.Login(id=f"e{at}", user_id="ü", time=1e9 + at) for at in range(3_000)]
TEXT = b"".join(event_codec.encode(event) + b"\n" for event in LOGINS)


def compress(how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(TEXT)
    if how == "zstd":
        return pa.compress(TEXT, "zstd", asbytes=True)
    return gzip.compress(TEXT[:50_000]) + gzip.compress(TEXT[50_000:]) if how == "two gzips" else TEXT


@pytest.mark.parametrize("how", ["plain", "gzip", "two gzips", "zstd"])
def test_compression_is_recognized_by_content(tmp_path, how):
    """The name of the file has no effect; the file can be read again."""
    file = tmp_path / "history.txt"
    file.write_bytes(compress(how))
    source = open_source(str(file))

    assert list(source) == [HistoryEntry(at, event) for at, event in enumerate(LOGINS)]
    assert list(source) == list(source)
    assert (source.repeatable, source.has_log_time, source.name, source.describe_position(16)) == (
        True,
        False,
        str(file),
        "line 17",
    )


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
def test_standard_input_can_be_read_once(monkeypatch, how):
    """It may be compressed as a file may."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(compress(how)))))
    source = open_source("-")

    assert not source.repeatable
    assert [entry.event for entry in entries(source)] == LOGINS


def test_a_named_pipe_can_be_read_once(tmp_path):
    """`encore replay <(...)` cannot be read twice."""
    os.mkfifo(tmp_path / "pipe")

    assert not open_source(str(tmp_path / "pipe")).repeatable


def test_invalid_lines_are_unusable(tmp_path):
    """Line by line, with the original bytes; empty lines and a byte order mark are ignored."""
    file = tmp_path / "history.jsonl"
    good = event_codec.encode(LOGINS[0])
    late = b'{"type":"login","id":"e","user_id":"u"}'
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\n" + late + b"\n\xff\n[1]\n" + good + b"\n  \n" + good[:-9])
    source = open_source(str(file))

    assert [entry.position for entry in entries(source)] == [0, 5]
    assert [(found.position, found.raw) for found in unusable(source)] == [
        (2, late), (3, b"\xff"), (4, b"[1]"), (7, good[:-9]),
    ]  # fmt: skip
    assert reasons(source) == [
        ("missing_field", "time"), ("malformed", None), ("malformed", None), ("malformed", None),
    ]  # fmt: skip


def test_an_endless_line_does_not_fill_the_memory(tmp_path):
    """Its beginning is kept as unusable; the next line is read."""
    settings = Settings(max_record_bytes=300_000)
    file = tmp_path / "history.jsonl"
    fits = event_codec.encode(ev.Search(id="s", user_id="u", time=1.0, query="q")).ljust(300_000)
    file.write_bytes(b"x" * 30_000_000 + b"\n" + fits + b"\n" + b"y" * 300_001 + b"\n" + event_codec.encode(LOGINS[0]))
    source = open_source(str(file), settings)

    assert [(found.position, found.raw[:2], len(found.raw) <= 500_000) for found in unusable(source)] == [
        (0, b"xx", True), (2, b"yy", True),
    ]  # fmt: skip
    assert reasons(source) == [("oversize", None)] * 2
    tracemalloc.start()
    assert [entry.position for entry in entries(source)] == [1, 3]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000


def test_the_length_limit_counts_the_whole_line(tmp_path):
    """Spaces count, also between valid events; the line end does not."""
    event, space = event_codec.encode(LOGINS[0]), b" " * 101
    fits, inside = event.ljust(100), event.replace(b",", b"," + space, 1)
    for long in (space + event, event + space, inside):
        (tmp_path / "history.jsonl").write_bytes(b"\n".join([fits, long, fits + b"\r", event]))
        source = open_source(str(tmp_path / "history.jsonl"), Settings(max_record_bytes=100))
        assert [entry.position for entry in entries(source)] == [0, 2, 3]
        assert reasons(source) == [("oversize", None)]


def test_a_long_line_keeps_as_many_bytes_as_a_dead_letter(tmp_path):
    """The error is stated; dead letters keep half a megabyte."""
    (tmp_path / "history.jsonl").write_bytes(b"z" * 600_000)
    (found,) = unusable(open_source(str(tmp_path / "history.jsonl")))

    assert (found.error.reason, found.raw) == ("malformed", b"z" * 500_000)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_a_truncated_file_is_reported_in_one_line(tmp_path, how):
    """All lines before the end are read; then the error names the file."""
    file = tmp_path / "history.jsonl"
    file.write_bytes(compress(how)[:-40])

    with pytest.raises(OperatorError, match=r"history\.jsonl"):
        list(open_source(str(file)))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_every_line_gives_one_entry(tmp_path_factory, lines):
    """Any non-empty line gives a valid or an unusable entry."""
    file = tmp_path_factory.mktemp("any") / "history.jsonl"
    every = b"\n".join([b"{}", *lines]).split(b"\n")
    file.write_bytes(b"\n".join(every))
    found = list(JsonLines(str(file), Settings()))

    assert [item.position for item in found] == [at for at, line in enumerate(every) if line.strip()]
    assert all(isinstance(item, UnusableEntry) for item in found)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing.jsonl", "missing.jsonl: no such file"),
        ("{folder}", "{folder}: is a folder; put the data set's name before it, such as oulad:{folder}"),
        ("ouald:x", "ouald:x: ouald is not a kind of source; did you mean oulad?"),
        ("postgres:x", "postgres:x: postgres is not a kind of source; use oulad, completejourney,"),
        ("oulad:{folder}/none", "oulad:{folder}/none: no such folder"),
        ("oulad:{folder}", "oulad:{folder}: the folder has no courses (.parquet, .csv, .csv.gz, .txt, .txt.gz)"),
        ("cdnow:{folder}", "cdnow:{folder}: the folder has no CDNOW_master or cdnow or CDNOW_sample"),
        ("onlineretail:{folder}", "onlineretail:{folder}: the folder has no online_retail or OnlineRetail or"),
        ("completejourney:{folder}", "completejourney:{folder}: the folder has no transactions or transaction_data"),
    ],
)  # fmt: skip
def test_a_wrong_source_is_reported_in_one_line(tmp_path, spec, message):
    """The line names the source and a remedy."""
    with pytest.raises(OperatorError) as refused:
        open_source(spec.format(folder=tmp_path))
    assert str(refused.value).startswith(message.format(folder=tmp_path))
    assert "\n" not in str(refused.value)


def test_a_file_name_may_look_like_a_prefix(tmp_path, monkeypatch):
    """An existing file with a colon in its name is a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "at:noon").write_bytes(TEXT[:200])

    assert open_source("at:noon").name == "at:noon"
