"""The engine: every part of Faust that Encore replaces, through classes that Faust lets an application replace.

- Chunked delivery: one Faust message carries up to `chunk` records of a partition.
- A write-behind table: one changelog record per user and commit, acknowledged before offsets are committed.
- Batch recovery: whole fetched batches of a changelog go to the table.
- A producer whose failures stop the worker instead of being ignored.

`engine = plain` changes three things: chunks of one record, a changelog record per event, and Faust's own recovery. It
uses the same consumer, producer and table, so leases, fences and bound commits stay in place. No module outside this
folder imports private modules of Faust.
"""
