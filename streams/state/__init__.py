"""Partitioned state: stores, changelog, recovery and fencing, shared by all tables."""
