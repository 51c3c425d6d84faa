"""The lease: what a worker knows of its membership."""

from streams.delivery.lease import LeaseState, PartitionLease


class Membership:
    """A lease whose clock and membership a test sets."""

    def __init__(self) -> None:
        self.at, self.member = 100.0, True
        self.lease = PartitionLease(10.0, lambda: self.at)


def test_outside_the_group_writing_is_allowed() -> None:
    """Before joining, a worker owns no partition that it could lose."""
    membership = Membership()
    membership.at += 1_000
    assert membership.lease.state is LeaseState.OWNED


def test_a_session_without_an_answered_heartbeat_is_unsure() -> None:
    """Time counts from when the heartbeat was sent, not answered. The session's last moment is still owned."""
    membership = Membership()
    membership.lease.join(lambda: membership.member)
    membership.at = 105.0
    membership.lease.renew(103.0)
    membership.at = 113.0
    assert membership.lease.state is LeaseState.OWNED
    membership.at = 113.1
    assert membership.lease.state is LeaseState.UNSURE
    membership.lease.renew(113.0)
    assert membership.lease.state is LeaseState.OWNED


def test_without_membership_the_lease_is_lost_until_the_next_join() -> None:
    """This holds even if the last heartbeat is recent."""
    membership = Membership()
    membership.lease.join(lambda: membership.member)
    membership.member = False
    assert membership.lease.state is LeaseState.LOST
    membership.lease.join(lambda: True)
    assert membership.lease.state is LeaseState.OWNED
