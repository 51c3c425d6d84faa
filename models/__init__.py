"""The domain logic: activity, churn models, reasons, offers and recommendations as pure functions of state and event.

Nothing here uses Kafka, a clock, the environment, files or logging. The whole logic has two entry points:
`retention.step` (a person and an event) and `retention.wake` (a person and the time of a timer). Both return the new
state of the person and the outputs to publish.
"""
