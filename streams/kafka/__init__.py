"""Kafka access: topics, codec, clients, readers, administration, lag, embedded broker."""
