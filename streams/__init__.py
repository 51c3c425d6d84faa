"""What moves: Kafka in, the state of people in between, Kafka out. Imports `models`, never the reverse."""
