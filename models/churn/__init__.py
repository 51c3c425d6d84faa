"""Churn models: learners, snapshots, scorers, drift correction, quality and reasons.

This package re-exports nothing, so that a process that only scores does not load River.
"""
