"""History in: replayed without Kafka, sent to it, and given account of."""
