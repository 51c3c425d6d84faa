"""Small versions of published data sets: the event of each row, unusable rows, and the same result in every layout."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from streams.errors import OperatorError
from streams.history.sources import HistoryEntry, open_source
from tests.streams.history.sources.published import (
    CDNOW,
    COMPLETEJOURNEY,
    DUNNHUMBY,
    OULAD,
    RETAIL,
    entries,
    events,
    parquet_of,
    reasons,
    unusable,
    write,
)

DAY = 86_400.0
OCTOBER = 1_380_585_600.0
"""1 October 2013."""

CASES = {
    "oulad": ("oulad", OULAD, ".csv"),
    "completejourney": ("completejourney", COMPLETEJOURNEY, ".csv"),
    "dunnhumby": ("completejourney", DUNNHUMBY, ".csv"),
    "onlineretail": ("onlineretail", {"online_retail": RETAIL}, ".csv"),
    "cdnow": ("cdnow", {"CDNOW_master": CDNOW}, ".txt"),
}


@pytest.fixture(params=CASES)
def source(request, tmp_path):
    """Each data set in turn."""
    kind, files, suffix = CASES[request.param]
    return open_source(f"{kind}:{write(tmp_path / 'data', files, suffix)}")


def test_a_data_set_is_repeatable(source):
    """A second reading gives the same entries at the same increasing positions."""
    found = list(source)

    assert [repr(item) for item in source] == [repr(item) for item in found]
    assert [item.position for item in found] == list(range(len(found)))
    assert (source.repeatable, source.has_log_time) == (True, False)
    assert all(source.describe_position(item.position) for item in found)


def test_events_of_a_data_set_are_valid(source):
    """Every event passes the checks of the wire format, and ids are unique."""
    found = events(source)

    assert found and all(event_codec.decode(event_codec.encode(event)) == event for event in found)
    assert len({event.id for event in found}) == len(found)


def test_an_unusable_entry_contains_its_row(source):
    """As JSON, or as the original line."""
    assert unusable(source)
    assert all(item.raw and item.error.detail for item in unusable(source))


# -- OULAD --------------------------------------------------------------------------------------------------------


def oulad(folder):
    return open_source(f"oulad:{folder}")


def event_key(event):
    """Return an event without its time of day: kind, id, user, course and day from 1 October 2013."""
    day = (event.time - OCTOBER) // DAY
    return ev.kind_of(event), event.id, getattr(event, "user_id", None), event.course_id, day


def test_rows_of_oulad_become_events(tmp_path):
    """Registrations and withdrawals, pages by type, and scored assessments."""
    source = oulad(write(tmp_path / "data", OULAD))
    first, second = "oulad-11391", "oulad-28400"

    assert [event_key(event) for event in events(source) if event.course_id == "AAA-2013J"] == [
        ("course_published", "oulad-course-AAA-2013J", None, "AAA-2013J", -159),
        ("purchase", "oulad-registration-0", first, "AAA-2013J", -159),
        ("purchase", "oulad-registration-1", second, "AAA-2013J", -53),
        ("subscription_cancelled", "oulad-unregistration-1", second, "AAA-2013J", 12),
        ("login", "oulad-vle-AAA-2013J-0", first, "AAA-2013J", -10),
        ("login", "oulad-vle-AAA-2013J-1", first, "AAA-2013J", -10),
        ("exercise", "oulad-vle-AAA-2013J-2", second, "AAA-2013J", 0),
        ("live_session", "oulad-vle-AAA-2013J-3", first, "AAA-2013J", 5),
        ("lesson_progress", "oulad-vle-AAA-2013J-4", first, "AAA-2013J", 5),
        ("lesson_progress", "oulad-vle-AAA-2013J-5", first, "AAA-2013J", 6),
        ("exercise", "oulad-assessment-0", first, "AAA-2013J", 18),
    ]
    by_id = {event.id: event for event in events(source)}
    assert by_id["oulad-assessment-0"].score == 0.78
    assert [by_id[f"oulad-vle-AAA-2013J-{row}"].lesson_id for row in (4, 5)] == ["104", "777"]
    assert by_id["oulad-vle-BBB-2014B-0"].time // DAY == (1_391_212_800.0 + 3 * DAY) // DAY  # 1 February 2014
    assert ev.kind_of(by_id["oulad-vle-BBB-2014B-0"]) == "comment"


def test_invalid_rows_of_oulad_are_unusable(tmp_path):
    """No registration day, clicks without a student, an impossible score; banked and unmarked work is left out."""
    source = oulad(write(tmp_path / "data", OULAD))

    assert reasons(source) == [
        ("missing_field", "time"),
        ("missing_field", "user_id"),
        ("wrong_type", "time"),
        ("impossible_value", "score"),
        ("missing_field", "course_id"),
    ]
    assert unusable(source)[1].raw == (
        b'{"id_student":null,"id_site":"104","date":"5","code_module":"AAA","code_presentation":"2013J"}'
    )
    list(source)
    assert source.skipped == 2


def test_a_day_of_oulad_is_one_sitting(tmp_path):
    """All events of a user's day lie within 90 minutes; a registration is the first, a withdrawal the last."""
    same = {
        **OULAD,
        "studentRegistration": OULAD["studentRegistration"].splitlines()[0] + '\n"AAA","2013J","11391","5","5"\n',
    }
    found = [
        event.time
        for event in events(oulad(write(tmp_path / "data", same)))
        if isinstance(event, ev.Event) and event.course_id == "AAA-2013J" and (event.time - OCTOBER) // DAY == 5
    ]

    assert (found[0], found[1]) == (min(found), max(found)) and len(found) == 4
    assert found[1] - found[0] == 5_400
    assert 7 * 3_600 <= (found[0] - OCTOBER) % DAY <= 20.5 * 3_600


@pytest.mark.parametrize("divided", [False, True])
def test_oulad_is_the_same_as_parquet(tmp_path, divided):
    """As one file, and with clicks divided by module and presentation: the same events in another order."""
    clean = {name: text.replace('"soon"', '""') for name, text in OULAD.items()}
    as_csv = write(tmp_path / "csv", clean)
    as_parquet = parquet_of(tmp_path / "parquet", as_csv, divided=divided)

    assert sorted(map(repr, events(oulad(as_parquet)))) == sorted(map(repr, events(oulad(as_csv))))
    assert sorted(reasons(oulad(as_parquet))) == sorted(reasons(oulad(as_csv)))


def test_rows_of_an_unknown_presentation_are_unusable(tmp_path):
    """Other rows are not affected."""
    files = {name: text.replace('"2014B"', '"2014X"') for name, text in OULAD.items()}
    found = oulad(write(tmp_path / "data", files))

    assert {event.course_id for event in events(found)} == {"AAA-2013J"}
    assert ("impossible_value", "time") in reasons(found)


def test_a_missing_table_or_column_is_reported(tmp_path):
    """The error names it."""
    folder = write(tmp_path / "data", OULAD)
    (folder / "vle.csv").write_text("id_site,kind\n1,quiz\n")
    with pytest.raises(OperatorError, match=r"vle\.csv: has no column activity_type; it has id_site, kind"):
        list(oulad(folder))
    (folder / "vle.csv").unlink()
    with pytest.raises(OperatorError, match=r"the folder has no vle \("):
        oulad(folder)
    (folder / "vle.parquet").write_bytes(b"PAR1 or so")
    with pytest.raises(OperatorError, match=r"vle\.parquet: "):
        list(oulad(folder))


def test_a_line_of_another_length_is_unusable(tmp_path):
    """Only that line is lost, even if it is the last."""
    files = {**OULAD, "studentVle": OULAD["studentVle"] + '"AAA","2013J","11391"\n'}
    source = oulad(write(tmp_path / "data", files))

    assert ("malformed", None) in reasons(source)
    assert [item.raw for item in unusable(source) if item.error.reason == "malformed"] == [b'"AAA","2013J","11391"']
    assert len(events(source)) == len(events(oulad(write(tmp_path / "whole", OULAD))))


def test_many_lines_of_another_length_are_unusable(tmp_path):
    """Even if megabytes of a file have no valid line: none is lost, and the result is repeatable."""
    lines = [*(f"{at},too short" for at in range(5_000)), *("far too short for an invoice" for _ in range(60_000))]
    (tmp_path / "online_retail.csv").write_text(RETAIL + "\n".join(lines) + "\n")
    found = [(item.position, item.raw) for item in unusable(open_source(f"onlineretail:{tmp_path}"))]

    assert sum(raw.endswith(b"an invoice") for _, raw in found) == 60_000
    assert sum(raw.endswith(b",too short") for _, raw in found) == 5_000
    assert found == [(item.position, item.raw) for item in unusable(open_source(f"onlineretail:{tmp_path}"))]


# -- The Complete Journey -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_baskets_campaigns_and_redemptions_become_events(tmp_path, layout):
    """The lines of a basket are one purchase with the sum that was paid; days get a time of day."""
    folder = write(tmp_path / "data", COMPLETEJOURNEY)
    if layout == "parquet":
        whole = COMPLETEJOURNEY["transactions"].replace(" 1.00,soon", " 1.00,").replace("1.00,soon", "1.00,")
        folder = parquet_of(tmp_path / "parquet", write(folder, {"transactions": whole}))
    source = open_source(f"completejourney:{folder}")
    delivered, redeemed, *bought = events(source)

    assert [(event.id, event.user_id, event.time, event.amount, event.currency) for event in bought] == [
        ("completejourney-basket-0", "household-900", 1_483_271_606.0, 2.75, "USD"),
        ("completejourney-basket-2", "household-1228", 1_483_273_732.0, 3.99, "USD"),
        ("completejourney-basket-3", "household-900", 1_483_434_000.0, 1.0, "USD"),
    ]
    offer = "completejourney-campaign-1"
    assert (delivered.user_id, delivered.offer_id, delivered.time // DAY) == ("household-900", offer, 17_228)
    assert (redeemed.user_id, redeemed.offer_id, redeemed.time // DAY) == ("household-900", offer, 17_230)
    assert (type(delivered), type(redeemed)) == (ev.CouponDelivered, ev.CouponRedeemed)
    missing = "missing_field" if layout == "parquet" else "wrong_type"
    assert reasons(source) == [
        ("impossible_value", "time"), ("missing_field", "user_id"), ("impossible_value", "amount"), (missing, "time"),
    ]  # fmt: skip


def test_dunnhumbys_own_files_count_days(tmp_path):
    """Day 1 is 1 January 2016, and 1631 is 16:31; an invalid hour is an error."""
    source = open_source(f"completejourney:{write(tmp_path / 'data', DUNNHUMBY)}")
    delivered, redeemed, bought = events(source)

    assert (bought.time, bought.amount, bought.user_id) == (
        1_451_606_400.0 + 16 * 3_600 + 31 * 60,
        2.21,
        "household-2375",
    )
    assert [(event.time - 1_451_606_400.0) // DAY + 1 for event in (delivered, redeemed)] == [224, 230]
    assert [(item.error.field, item.error.detail) for item in unusable(source)] == [("time", "TRANS_TIME is '2575'")]


def test_a_basket_may_span_batches(tmp_path):
    """A basket is one purchase, even if its lines are in several batches."""
    rows = [(1, basket, 0.01, "2017-01-01 11:53:26") for basket in range(3) for _ in range(30_000)]
    table = pa.table(
        list(map(list, zip(*rows, strict=True))), ["household_id", "basket_id", "sales_value", "transaction_timestamp"]
    )
    folder = write(tmp_path / "data", COMPLETEJOURNEY)
    (folder / "transactions.csv").unlink()
    pa.parquet.write_table(table, folder / "transactions.parquet")
    bought = [event for event in events(open_source(f"completejourney:{folder}")) if isinstance(event, ev.Purchase)]

    assert [(event.id, event.amount) for event in bought] == [
        (f"completejourney-basket-{at * 30_000}", 300.0) for at in range(3)
    ]


# -- Online Retail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["folder", "gz", "two", "american"])
def test_invoices_become_purchases_and_refunds(tmp_path, layout):
    """One event per invoice, for any file name, and with the names of the second edition."""
    text, place = RETAIL, tmp_path / "data"
    if layout == "two":
        text = text.replace("InvoiceNo", "Invoice").replace("UnitPrice", "Price").replace("CustomerID", "Customer ID")
    if layout == "american":
        text = text.replace("2010-12-01 08:26:00", "12/1/2010 8:26")
    write(place, {"online_retail": text})
    if layout == "gz":
        (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(text.encode()))
        place = tmp_path / "mine.csv.gz"
    source = open_source(f"onlineretail:{place}")

    assert [
        (type(event), event.id, event.user_id, event.time, event.amount, event.currency) for event in events(source)
    ] == [
        (ev.Purchase, "onlineretail-0", "customer-17850", 1_291_191_960.0, 22.08, "GBP"),
        (ev.Refund, "onlineretail-2", "customer-14527", 1_291_196_460.0, 27.5, "GBP"),
        (ev.Purchase, "onlineretail-4", "customer-17850", 1_291_204_380.0, 1.5, "GBP"),
    ]
    assert [(reason, field) for reason, field in reasons(source)] == [
        ("missing_field", "user_id"), ("wrong_type", "amount"), ("wrong_type", "time"), ("impossible_value", "amount"),
    ]  # fmt: skip


# -- CDNOW --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["", " customer_id  date number_of_cds  dollar_value\r\n"])
def test_lines_of_cdnow_become_purchases(tmp_path, head):
    """With and without a heading; two lines of a day are two purchases."""
    source = open_source(f"cdnow:{write(tmp_path / 'data', {'CDNOW_master': head + CDNOW}, '.txt')}")
    first = bool(head)

    assert [(event.id, event.user_id, event.time // DAY, event.amount) for event in events(source)] == [
        (f"cdnow-{first + 0}", "customer-00001", 9_862, 11.77),
        (f"cdnow-{first + 1}", "customer-00002", 9_873, 12.0),
        (f"cdnow-{first + 2}", "customer-00002", 9_873, 77.0),
    ]
    assert reasons(source) == [
        ("wrong_type", "user_id"), ("impossible_value", "time"), ("wrong_type", "amount"), ("malformed", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "field"),
    [("00001 19970101 1 -5.00", "amount"), ("00001 19970101 1 1e12", "amount"), ("00001 19970101 1 nan", "amount"),
     ("1234567890123456 19970101 1 5", "user_id"), ("00001 19690101 1 5", "time")],
)  # fmt: skip
def test_invalid_lines_of_cdnow_are_unusable(tmp_path, line, field):
    """The error names the field."""
    (tmp_path / "CDNOW_master.txt").write_text(line)

    assert [field_ for _, field_ in reasons(open_source(f"cdnow:{tmp_path}"))] == [field]


def test_the_sample_of_cdnow_has_an_additional_column(tmp_path):
    """It is ignored."""
    (tmp_path / "CDNOW_sample.txt").write_text(" 00004 0001 19970101  2   29.33\n")

    assert [(event.user_id, event.amount) for event in events(open_source(f"cdnow:{tmp_path}"))] == [
        ("customer-00004", 29.33)
    ]


CELLS = st.lists(st.one_of(st.text("0123456789.-?ABJC: ", max_size=14), st.text(max_size=6)), max_size=8)


@settings(deadline=None)
@given(st.lists(CELLS, max_size=12), st.sampled_from(sorted(CASES)))
def test_no_content_of_a_table_stops_the_reading(tmp_path_factory, rows, case):
    """Each line gives an event or an unusable entry with a reason; or the whole file is refused in one line."""
    kind, files, suffix = CASES[case]
    folder = tmp_path_factory.mktemp("any") / "data"
    more = "".join(
        (" " if suffix == ".txt" else ",").join(cells).replace("\r", "").replace('"', "") + "\n" for cells in rows
    )
    write(folder, {name: text + more for name, text in files.items()}, suffix)
    try:
        found = list(open_source(f"{kind}:{folder}"))
    except OperatorError as refused:
        assert "\n" not in str(refused)
        return
    assert [item.position for item in found] == list(range(len(found)))
    assert all(
        event_codec.decode(event_codec.encode(item.event)) == item.event
        for item in found
        if isinstance(item, HistoryEntry)
    )
    assert len(entries(open_source(f"{kind}:{write(folder, files, suffix)}"))) <= len(found)
