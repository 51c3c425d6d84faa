"""What Encore knows: people, their activity, churn, reasons and offers, as plain functions of state and event.

Nothing here knows of Kafka, a clock, the environment, files or logs. Two functions hold the whole of the business:
`retention.step` (a person and an event) and `retention.wake` (a person and a moment); both return the person as it
stands afterwards and what there is to tell the world.
"""
