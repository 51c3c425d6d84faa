"""Delivery: ordered sending, leases on partitions, write-ahead outputs and dead letters."""
