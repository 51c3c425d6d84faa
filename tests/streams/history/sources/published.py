"""Small data sets in the layouts of the published ones, written by tests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from models.schema import events as ev
from streams.history.sources.source import HistoryEntry, HistorySource, UnusableEntry

OULAD = {
    "courses": '''"code_module","code_presentation","module_presentation_length"
"AAA","2013J","268"
"BBB","2014B","240"
''',
    "vle": '''"id_site","code_module","code_presentation","activity_type","week_from","week_to"
"100","AAA","2013J","homepage","",""
"101","AAA","2013J","quiz","",""
"102","AAA","2013J","forumng","",""
"103","AAA","2013J","oucollaborate","",""
"104","AAA","2013J","oucontent","1","2"
''',
    "assessments": '''"code_module","code_presentation","id_assessment","assessment_type","date","weight"
"AAA","2013J","1752","TMA","19","10"
"BBB","2014B","1760","Exam","?","100"
''',
    "studentInfo": '''"code_module","code_presentation","id_student","gender"
"AAA","2013J","11391","M"
''',
    "studentRegistration": '''"code_module","code_presentation","id_student","date_registration","date_unregistration"
"AAA","2013J","11391","-159",""
"AAA","2013J","28400","-53","12"
"BBB","2014B","11391","?","?"
''',
    "studentAssessment": '''"id_assessment","id_student","date_submitted","is_banked","score"
"1752","11391","18","0","78"
"1752","28400","-1","1","60"
"1752","28400","20","0","?"
"1760","11391","200","0","101"
"9999","11391","20","0","50"
''',
    "studentVle": '''"code_module","code_presentation","id_student","id_site","date","sum_click"
"AAA","2013J","11391","100","-10","4"
"AAA","2013J","11391","100","-10","4"
"AAA","2013J","28400","101","0","1"
"BBB","2014B","11391","102","3","1"
"AAA","2013J","11391","103","5","2"
"AAA","2013J","11391","104","5","2"
"AAA","2013J","11391","777","6","2"
"AAA","2013J","","104","5","2"
"AAA","2013J","11391","104","soon","2"
''',
}  # fmt: skip
"""The Open University's CSV files; what is missing in them is empty, or a question mark."""

TRANSACTIONS = """household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp
900,330,31198570044,1095275,1,0.50,2017-01-01 11:53:26
900,330,31198570044,1095276,1,2.25,2017-01-01 11:53:26
1228,406,31198655051,1104146,1,3.99,2017-01-01 12:28:52
900,330,31198570099,1,1,1.00,2017-01-03 09:00:00
,330,31198570100,1,1,1.00,2017-01-03 09:00:00
900,330,31198570101,1,1,-1.00,2017-01-03 09:00:00
900,330,31198570102,1,1,1.00,soon
"""
COMPLETEJOURNEY = {
    "transactions": TRANSACTIONS,
    "campaigns": "campaign_id,household_id\n1,900\n99,900\n",
    "campaign_descriptions": "campaign_id,campaign_type,start_date,end_date\n1,Type B,2017-03-03,2017-04-09\n",
    "coupon_redemptions": "household_id,coupon_upc,campaign_id,redemption_date\n900,51380041013,1,2017-03-05\n",
}
"""The packages' tables, as CSV."""
DUNNHUMBY = {
    "transaction_data": """household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,TRANS_TIME,WEEK_NO
2375,26984851472,1,1004906,1,1.39,364,1631,1
2375,26984851472,1,1033142,1,0.82,364,1631,1
2375,26984851473,2,1033142,1,5.00,364,2575,1
""",
    "campaign_table": "DESCRIPTION,household_key,CAMPAIGN\nTypeA,2375,26\n",
    "campaign_desc": "DESCRIPTION,CAMPAIGN,START_DAY,END_DAY\nTypeA,26,224,264\n",
    "coupon_redempt": "household_key,DAY,COUPON_UPC,CAMPAIGN\n2375,230,10000085364,26\n",
}
"""dunnhumby's own CSV files."""
RETAIL = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,71053,WHITE METAL LANTERN,2,2010-12-01 08:26:00,3.39,17850.0,United Kingdom
C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom
536414,22139,,56,2010-12-01 11:52:00,0.0,,United Kingdom
536415,22139,"a ""quoted"", word",1,2010-12-01 11:53:00,1.5,17850.0,United Kingdom
536416,22139,x,-2,2010-12-01 11:54:00,1.5,17850.0,United Kingdom
536417,22139,x,many,2010-12-01 11:54:00,1.5,17850.0,United Kingdom
536418,22139,x,1,at noon,1.5,17850.0,United Kingdom
"""
CDNOW = """ 00001 19970101  1   11.77\r
 00002 19970112  1   12.00\r
 00002 19970112  5   77.00\r
 x0003 19970102  2   20.76\r
 00003 19971302  2   20.76\r
 00003 19970102  2   lots\r
 00003 19970102\r
"""


def write(folder: Path, files: dict[str, str], suffix: str = ".csv") -> Path:
    """Write the tables of a data set into a folder."""
    folder.mkdir(exist_ok=True)
    for stem, text in files.items():
        (folder / f"{stem}{suffix}").write_text(text)
    return folder


def parquet_of(folder: Path, csv: Path, *, divided: bool = False) -> Path:
    """Write a folder of CSV tables as Parquet, with numbers as doubles, as R writes them."""
    folder.mkdir()
    convert = pa.csv.ConvertOptions(null_values=["", "?"])
    for file in csv.glob("*.csv"):
        table = pa.csv.read_csv(file, convert_options=convert)
        for number, field in enumerate(table.schema):
            if pa.types.is_integer(field.type):
                table = table.set_column(number, field.name, table.column(number).cast(pa.float64()))
        if divided and file.stem == "studentVle":
            pa.parquet.write_to_dataset(table, folder / "studentVle_ds", ["code_module", "code_presentation"])
        else:
            pa.parquet.write_table(table, folder / f"{file.stem}.parquet")
    return folder


def entries(source: HistorySource) -> list[HistoryEntry]:
    """Return the valid entries of a source."""
    return [found for found in source if isinstance(found, HistoryEntry)]


def events(source: HistorySource) -> list[ev.AnyEvent]:
    """Return the events of a source."""
    return [entry.event for entry in entries(source)]


def unusable(source: HistorySource) -> list[UnusableEntry]:
    """Return the unusable entries of a source."""
    return [found for found in source if isinstance(found, UnusableEntry)]


def reasons(source: HistorySource) -> list[tuple[str, str | None]]:
    """Return reason and field of the unusable entries."""
    return [(found.error.reason, found.error.field) for found in unusable(source)]
