"""Which outputs are written ahead of the state, and which are written through at once."""

from __future__ import annotations

from models.person.preferences import Interaction
from models.recommend.audience import AudienceShare
from models.schema.outputs import Alert, CouponTrigger, Decision, EarlySignal, Example, Output, Tombstone


def subclasses(of: type[Output]) -> set[type[Output]]:
    return {kind for direct in of.__subclasses__() for kind in (direct, *subclasses(direct))}


def test_outputs_that_follow_from_the_log_alone_are_written_ahead() -> None:
    """Labelled rows, early signals and interactions do not depend on the model or the campaign."""
    assert {kind for kind in subclasses(Output) if kind.reproducible} == {Example, EarlySignal, Interaction}


def test_what_a_consumer_waits_for_is_urgent() -> None:
    """Alerts and triggers are written through at once; what is written ahead never is."""
    urgent = {kind for kind in subclasses(Output) if kind.urgent}
    assert {Alert, CouponTrigger, Decision, Tombstone} <= urgent
    assert {Example, EarlySignal, Interaction, AudienceShare} & urgent == set()
