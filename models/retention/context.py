"""What is the same for everybody at a moment: the rules, the newest model, the running campaign, the courses."""

from __future__ import annotations

from msgspec import Struct

from models.churn.scorer import Scorer
from models.offers.campaign import Campaign
from models.person.rules import Rules
from models.recommend.catalogue import Catalogue
from models.schema.outputs import NO_MODEL


class Context(Struct, frozen=True, kw_only=True):
    """The world as a person's step or wake finds it. A newer model or campaign makes a new world; the shelf
    changes as courses do."""

    rules: Rules = Rules()
    model: Scorer | None = None
    campaign: Campaign | None = None
    shelf: Catalogue | None = None
    shadow: bool = False

    @property
    def ready(self) -> bool:
        """Whether the model has learned from enough labels to be believed."""
        return self.model is not None and self.model.labels >= self.rules.labels_needed

    @property
    def version(self) -> str:
        """What scores at the moment: the model's version, or that there is none to be believed."""
        return self.model.version if self.model is not None and self.ready else NO_MODEL
