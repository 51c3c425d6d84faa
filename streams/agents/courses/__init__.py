"""The courses agent: folds interactions into one co-occurrence row per course."""
