"""The users agent: applies the `events` log to the state of users, one partition at a time."""
