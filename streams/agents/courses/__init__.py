"""The courses agent: applies interactions to one co-occurrence row per course."""
