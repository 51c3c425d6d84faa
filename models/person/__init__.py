"""The state of one person: activity, ledger, preferences, and the features read from them."""
