"""What ingest reads with: topics in step, one reader at a time, and a platform's own objects."""
