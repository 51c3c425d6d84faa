"""What all transitions share at a moment: rules, the newest model, the active campaign, and the course catalogue."""

from __future__ import annotations

from msgspec import Struct

from models.churn.scorer import Scorer
from models.offers.campaign import Campaign
from models.person.rules import Rules
from models.recommend.catalogue import Catalogue
from models.schema.outputs import NO_MODEL


class Context(Struct, frozen=True, kw_only=True):
    """The context of `step` and `wake`.

    A newer model or campaign makes a new context. The catalogue is mutable: it changes as courses change.
    """

    rules: Rules = Rules()
    model: Scorer | None = None
    campaign: Campaign | None = None
    catalogue: Catalogue | None = None
    shadow: bool = False

    @property
    def ready(self) -> bool:
        """Whether the model has learned from enough labels to be used."""
        return self.model is not None and self.model.labels >= self.rules.labels_needed

    @property
    def version(self) -> str:
        """Version of the model in use, or `NO_MODEL`."""
        return self.model.version if self.model is not None and self.ready else NO_MODEL
