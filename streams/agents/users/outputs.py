"""From what a person's step or wake says to parcels in their outbox, and to what is counted of it."""

from __future__ import annotations

from models.person.ledger import pseudonym
from models.person.preferences import Interaction
from models.retention.step import Transition
from models.schema.outputs import Alert, CouponTrigger, Decision, OfferOutcome, Output, Tombstone
from streams.agents.users.envelope import OutboxMessage
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.kafka import codec
from streams.metrics import LabelledCounter, Metrics
from streams.settings import Settings

FOR_EVER = float("inf")


class OutputPacker:
    """Makes parcels of what people say, and counts it; what is certain goes ahead."""

    def __init__(self, settings: Settings, metrics: Metrics, ahead: WriteAheadOutputs) -> None:
        self._live = settings.mode == "live"
        self._key = settings.pseudonym_key.encode()
        self._metrics = metrics
        self._ahead = ahead

    def parcels(self, key: bytes, moved: Transition, person_id: str) -> tuple[OutboxMessage, ...]:
        """Return a parcel for everything that waits for the state, of what a person says; all of it is counted."""
        for note in moved.notes:
            self._metrics.count(_NOTES[note])
        if not moved.outputs:
            return ()
        parcels = []
        for output in moved.outputs:
            self._count(output)
            if output.reproducible:
                self._ahead.add(key, output)
            elif self._live or not isinstance(output, Alert | CouponTrigger):
                parcels.append(self._parcel(output, person_id))
        return tuple(parcels)

    def _parcel(self, output: Output, person_id: str) -> OutboxMessage:
        topic, key = codec.address(output)
        news = isinstance(output, Alert | CouponTrigger)
        return OutboxMessage(
            output.id,
            topic,
            key,
            codec.encode_output(output),
            output.expires_at if isinstance(output, Alert | CouponTrigger) else FOR_EVER,
            output.urgent,
            pseudonym(person_id, self._key) if news else "",
        )

    def _count(self, output: Output) -> None:
        if type(output) is Decision:
            self._metrics.add("encore_decisions_total", output.candidate, output.reason)
        elif type(output) is OfferOutcome:
            self._metrics.add("encore_outcomes_total", output.outcome)
        elif type(output) is Interaction:
            self._metrics.add("encore_interactions_total", "new" if output.new else "again")
        elif type(output) is Tombstone and output.of == "profile":
            self._metrics.add("encore_erasures_total")


_NOTES: dict[str, LabelledCounter] = {
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
