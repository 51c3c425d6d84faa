"""The profile of a person, which is published when the risk tier changes."""

from __future__ import annotations

from models.person import features
from models.person.ledger import output_id
from models.person.lifecycle import stage
from models.person.person import Person
from models.retention.context import Context
from models.schema.outputs import Profile


def make_profile(person: Person, at: float, cause: str, context: Context) -> Profile:
    """Return a person's profile as of a moment; `cause` names the event or timer, for the output id."""
    wallet = person.activity.wallet
    return Profile(
        id=output_id(person.id, "profile", cause),
        user_id=person.id,
        time=at,
        tier=person.ledger.tier,
        probability=person.ledger.probability,
        stage=stage(person.activity, at, context.rules),
        retention_rate=round(features.retention_rate(person.activity, at), 4),
        repurchase_rate=round(features.repurchase_rate(person.activity, at), 4),
        purchases=wallet.purchases,
        spend=round(wallet.spend - wallet.refunded, 2),
        last_active=person.activity.last,
    )
