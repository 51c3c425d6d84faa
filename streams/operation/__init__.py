"""What operators do and read: topics, campaigns, dead letters, lag, the contract."""
