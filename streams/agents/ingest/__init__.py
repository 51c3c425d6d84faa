"""The ingest agent: reads input topics, maps and validates records, appends them to `events`."""
