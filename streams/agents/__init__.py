"""The Faust agents, one package each: ingest, users, courses, training."""
