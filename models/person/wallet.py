"""A person's payments: counts, sums and times that do not depend on the order of events."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from models.schema import events as ev

_MEMBERSHIP = (ev.SubscriptionStarted, ev.SubscriptionRenewed)


class Wallet(Struct, frozen=True, array_like=True, gc=False):
    """A person's payments. Amounts are in the platform's currency, times in seconds since 1970 UTC.

    Attributes:
        purchases: number of purchases.
        spend: sum of purchases and membership fees.
        spend_squares: sum of the squares of purchase amounts.
        first: time of the first purchase.
        last: time of the latest purchase.
        refunds: number of refunds.
        refunded: their sum.
        redeemed: number of redeemed coupons.
        points: balance of points.
        member_since: latest start or renewal of a membership; 0 if there was none.
        member_until: latest cancellation; 0 if there was none.
    """

    purchases: int = 0
    spend: float = 0.0
    spend_squares: float = 0.0
    first: float = 0.0
    last: float = 0.0
    refunds: int = 0
    refunded: float = 0.0
    redeemed: int = 0
    points: float = 0.0
    member_since: float = 0.0
    member_until: float = 0.0


def update_wallet(wallet: Wallet, event: ev.Event) -> Wallet:
    """Return the wallet after an event. Events without a payment leave it the same."""
    time = event.time
    if isinstance(event, ev.PointsEarned):
        return replace(wallet, points=wallet.points + event.points)
    if isinstance(event, ev.PointsSpent):
        return replace(wallet, points=wallet.points - event.points)
    if isinstance(event, ev.Purchase):
        return _add_purchase(wallet, event.amount, time)
    if isinstance(event, ev.Refund):
        return replace(wallet, refunds=wallet.refunds + 1, refunded=wallet.refunded + event.amount)
    if isinstance(event, _MEMBERSHIP):
        return replace(wallet, member_since=max(wallet.member_since, time), spend=wallet.spend + event.amount)
    if isinstance(event, ev.SubscriptionCancelled):
        return replace(wallet, member_until=max(wallet.member_until, time))
    if isinstance(event, ev.CouponRedeemed):
        return replace(wallet, redeemed=wallet.redeemed + 1)
    return wallet


def _add_purchase(wallet: Wallet, amount: float, time: float) -> Wallet:
    return replace(
        wallet,
        purchases=wallet.purchases + 1,
        spend=wallet.spend + amount,
        spend_squares=wallet.spend_squares + amount * amount,
        first=min(wallet.first, time) if wallet.purchases else time,
        last=max(wallet.last, time),
    )
