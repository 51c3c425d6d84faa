"""Days of backlog after an outage, on a real Kafka."""
