"""Stream processing: read events from Kafka, keep the state of users, write outputs. It imports `models`."""
