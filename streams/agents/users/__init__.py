"""The users agent: applies the `events` log to the state of people, one partition at a time."""
