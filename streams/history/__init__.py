"""History in: replayed without Kafka, or sent to it."""
