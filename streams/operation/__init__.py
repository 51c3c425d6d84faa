"""Operation: the commands on topics, campaigns and dead letters, and the contract of the topics."""
