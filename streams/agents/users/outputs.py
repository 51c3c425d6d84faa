"""Turns the outputs of a transition into outbox messages, and counts them."""

from __future__ import annotations

from models.person.ledger import pseudonym
from models.person.preferences import Interaction
from models.retention.step import Transition
from models.schema.outputs import Alert, CouponTrigger, Decision, OfferOutcome, Output, Tombstone
from streams.agents.users.envelope import Envelope, OutboxMessage
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.kafka import codec
from streams.metrics import LabelledCounter, Metrics
from streams.settings import Settings

NEVER_EXPIRES = float("inf")
MAX_MESSAGES = 100
"""Messages in an outbox from which their size is checked as well."""


def outbox_full(envelope: Envelope, max_record_bytes: int) -> bool:
    """Return whether the outbox leaves no room for more messages in a changelog record."""
    if len(envelope.outbox) < MAX_MESSAGES:
        return False
    return sum(len(message.value or b"") for message in envelope.outbox) > max_record_bytes * 2 // 3


class OutputPacker:
    """Turns outputs into outbox messages and counts them. Reproducible outputs are sent ahead of the state instead."""

    def __init__(self, settings: Settings, metrics: Metrics, write_ahead: WriteAheadOutputs) -> None:
        self._live = settings.mode == "live"
        self._key = settings.pseudonym_key.encode()
        self._metrics = metrics
        self._write_ahead = write_ahead

    def messages(self, key: bytes, transition: Transition, user_id: str) -> tuple[OutboxMessage, ...]:
        """Count results and outputs of a transition; return messages for the outputs that wait for the state."""
        for result in transition.results:
            self._metrics.count(_RESULT_COUNTERS[result])
        if not transition.outputs:
            return ()
        messages = []
        for output in transition.outputs:
            self._count(output)
            if output.reproducible:
                self._write_ahead.add(key, output)
            elif self._live or not isinstance(output, Alert | CouponTrigger):
                messages.append(self._message(output, user_id))
        return tuple(messages)

    def _message(self, output: Output, user_id: str) -> OutboxMessage:
        topic, key = codec.address(output)
        if isinstance(output, Alert | CouponTrigger):
            expires_at, user = output.expires_at, pseudonym(user_id, self._key)
        else:
            expires_at, user = NEVER_EXPIRES, ""
        return OutboxMessage(output.id, topic, key, codec.encode_output(output), expires_at, output.urgent, user)

    def _count(self, output: Output) -> None:
        if type(output) is Decision:
            self._metrics.add("encore_decisions_total", output.candidate, output.reason)
        elif type(output) is OfferOutcome:
            self._metrics.add("encore_outcomes_total", output.outcome)
        elif type(output) is Interaction:
            self._metrics.add("encore_interactions_total", "new" if output.new else "again")
        elif type(output) is Tombstone and output.of == "profile":
            self._metrics.add("encore_erasures_total")


_RESULT_COUNTERS: dict[str, LabelledCounter] = {
    "applied": ("encore_events_total", ("applied",)),
    "late": ("encore_events_total", ("late",)),
    "erased": ("encore_events_total", ("erased",)),
    "erasure": ("encore_events_total", ("applied",)),
    "duplicate": ("encore_duplicates_total", ("id",)),
    "scored": ("encore_scores_total", ("churn",)),
    "label churned": ("encore_labels_total", ("churned",)),
    "label stayed": ("encore_labels_total", ("stayed",)),
    "not eligible: silent beyond the look-back": ("encore_not_eligible_total", ("silent beyond the look-back",)),
}
