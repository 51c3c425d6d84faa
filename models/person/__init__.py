"""The state of one person: activity, ledger and preferences, and the features computed from it."""
