"""People over a changelog that is a list."""

from __future__ import annotations

from collections import deque

from models.person.rules import Rules
from streams.agents.users.store import UserStore
from tests.streams.doubles import ManualSink

RULES = Rules(pseudonym_key=b"key")


class Partition(UserStore):
    """People whose changelog is a list."""

    def __init__(self, max_cached: int = 100) -> None:
        self.sink = ManualSink()
        super().__init__(RULES, max_cached, self.sink.changelog("changelog"))

    @property
    def written(self) -> list[tuple[bytes, bytes | None]]:
        return [(put.key or b"", put.value) for put in self.sink.all]

    def again(self) -> Partition:
        """The partition at the worker that takes it over."""
        return recovered(self.written)


def recovered(changelog: list[tuple[bytes, bytes | None]]) -> Partition:
    """Return the partition as it stands behind a recovery, counted."""
    people = Partition()
    for key, value in changelog:
        people.restore(key, value)
    deque(people.scan(), maxlen=0)
    return people
