"""What a worker may believe of its place in the group."""

from streams.delivery.lease import LeaseState, PartitionLease


class Hand:
    """A clock that a test moves, and a membership that it ends."""

    def __init__(self) -> None:
        self.at, self.member = 100.0, True
        self.lease = PartitionLease(10.0, lambda: self.at)


def test_outside_the_group_nothing_is_held_back() -> None:
    """Whoever has not joined yet owns nothing that could be lost."""
    hand = Hand()
    hand.at += 1_000
    assert hand.lease.state is LeaseState.OWNED


def test_a_session_without_an_answer_makes_unsure() -> None:
    """It counts from when the heartbeat was sent, not from its answer; the session's last moment is still ours."""
    hand = Hand()
    hand.lease.join(lambda: hand.member)
    hand.at = 105.0
    hand.lease.renew(103.0)
    hand.at = 113.0
    assert hand.lease.state is LeaseState.OWNED
    hand.at = 113.1
    assert hand.lease.state is LeaseState.UNSURE
    hand.lease.renew(113.0)
    assert hand.lease.state is LeaseState.OWNED


def test_who_is_no_member_has_lost_everything_until_it_joins_again() -> None:
    """However fresh the last answer is."""
    hand = Hand()
    hand.lease.join(lambda: hand.member)
    hand.member = False
    assert hand.lease.state is LeaseState.LOST
    hand.lease.join(lambda: True)
    assert hand.lease.state is LeaseState.OWNED
