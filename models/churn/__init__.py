"""Churn models: learners, snapshots, scorers, early signals, quality and reasons.

This package re-exports nothing: a process that only scores must not load River.
"""
