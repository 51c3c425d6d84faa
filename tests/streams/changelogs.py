"""A user store over a changelog that is a list."""

from __future__ import annotations

from collections import deque

from models.person.rules import Rules
from streams.agents.users.store import UserStore
from tests.streams.doubles import ManualSink

RULES = Rules(pseudonym_key=b"key")


class ListedStore(UserStore):
    """Users whose changelog is a list."""

    def __init__(self, max_cached: int = 100) -> None:
        self.sink = ManualSink()
        super().__init__(RULES, max_cached, self.sink.changelog("changelog"))

    @property
    def written(self) -> list[tuple[bytes, bytes | None]]:
        return [(put.key or b"", put.value) for put in self.sink.all]

    def recovered_copy(self) -> ListedStore:
        """Return the partition as the next owner recovers it."""
        return recover(self.written)


def recover(changelog: list[tuple[bytes, bytes | None]]) -> ListedStore:
    """Return a partition after a recovery, counted."""
    users = ListedStore()
    for key, value in changelog:
        users.restore(key, value)
    deque(users.scan(), maxlen=0)
    return users
