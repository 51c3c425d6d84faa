"""Retention: the functions `step` and `wake`, scores, alerts, profiles and published recommendations."""
