"""Campaigns, and the pure decision whether a person gets an offer, always with a reason."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.person.activity import DAY
from models.person.ledger import MAX_OFFERS, Ledger, hash_share

REASONS: dict[str, str] = {
    "sent": "the offer is sent",
    "no_campaign": "no campaign is running",
    "no_consent": "the user has not consented to marketing, or has withdrawn consent",
    "open_offer": "an offer of this campaign, or too many of other campaigns, are still open",
    "cap": "the user has had the maximum number of offers of this campaign",
    "cool_down": "too soon after the previous offer",
    "quiet_hours": "during quiet hours; decided again when they end",
    "hold_out": "the user is in the hold-out group, which gets no offers, so that the effect can be measured",
    "shadow": "the worker runs in shadow mode",
}

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$(?!\n)")]
Days = Annotated[float, Meta(ge=0, le=3_650)]
Hour = Annotated[float, Meta(ge=0, le=24)]


class Arm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An offer: a coupon with an amount and a validity in days."""

    name: Name
    amount: Annotated[float, Meta(gt=0, le=1e6)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "EUR"
    valid_days: Annotated[float, Meta(gt=0, le=365)] = 7.0


class Campaign(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What persons may get and when. `version` is computed from the contents when the campaign is published.

    Quiet hours are in local time, from `quiet_from` to `quiet_until`, also past midnight. Equal hours mean none.
    """

    id: Name
    arm: Arm
    cap_per_person: Annotated[int, Meta(ge=1, le=100)] = 2
    cool_down_days: Days = 14.0
    contact_cool_down_days: Days = 3.0
    hold_out: Annotated[float, Meta(ge=0, le=1)] = 0.1
    needs_consent: bool = True
    quiet_from: Hour = 22.0
    quiet_until: Hour = 8.0
    utc_offset_hours: Annotated[float, Meta(ge=-14, le=14)] = 0.0
    enabled: bool = True
    version: str = ""


class Verdict(Struct, frozen=True):
    """The decision on a candidate. `retry` is the time at which to decide again, if there is one."""

    reason: str
    campaign: Campaign | None = None
    counts: bool = False
    retry: float | None = None

    @property
    def sent(self) -> bool:
        """Whether the offer or contact is sent."""
        return self.reason == "sent"


def decide(
    kind: Literal["coupon", "contact"],
    person_id: str,
    ledger: Ledger,
    campaign: Campaign | None,
    now: float,
    shadow: bool,
    delay: float = 0.0,
) -> Verdict:
    """Decide whether a person gets a coupon or a contact now.

    The hold-out is checked last. So the persons in it are comparable with those who get something, because both passed
    all other checks. Both count for caps and cool-downs.

    Args:
        kind: coupon or contact.
        person_id: only decides whether the person is in the hold-out.
        ledger: what the person got so far, and their consent.
        campaign: the running campaign.
        now: seconds since 1970 UTC; the time of the cause, not of the machine.
        shadow: nothing is sent in shadow mode. What would have been sent counts in shadow mode only.
        delay: seconds by which it may be sent after `now`, as happens with timers. Quiet hours must not have begun by
            then.

    Returns:
        The verdict; its reason is one of `REASONS`.
    """
    if campaign is None or not campaign.enabled:
        return Verdict("no_campaign")
    if ledger.consent < 0 or (campaign.needs_consent and ledger.consent == 0):
        return Verdict("no_consent", campaign)
    blocked = _blocking_reason(kind, ledger, campaign, now, shadow)
    if blocked:
        return Verdict(blocked, campaign)
    quiet_end = quiet_hours_end(campaign, now) or quiet_hours_end(campaign, now + delay)
    if quiet_end is not None:
        return Verdict("quiet_hours", campaign, retry=quiet_end)
    if is_held_out(person_id, campaign):
        return Verdict("hold_out", campaign, counts=True)
    return Verdict("shadow" if shadow else "sent", campaign, counts=True)


def is_held_out(person_id: str, campaign: Campaign) -> bool:
    """Return whether a person is in a campaign's hold-out. It is constant, and independent of other campaigns."""
    return hash_share(person_id, f"hold-out/{campaign.id}") < campaign.hold_out


def quiet_hours_end(campaign: Campaign, now: float) -> float | None:
    """Return when the current quiet hours end, or None outside of quiet hours."""
    offset = round(campaign.utc_offset_hours * 3_600)
    start, end = (round(hour * 3_600) for hour in (campaign.quiet_from, campaign.quiet_until))
    second = (now + offset) % DAY
    quiet = start <= second < end if start <= end else second >= start or second < end
    if not quiet:
        return None
    midnight = (now + offset) // DAY * DAY
    return midnight + end + (DAY if second >= end else 0.0) - offset


def next_quiet_start(campaign: Campaign, now: float) -> float:
    """Return when quiet hours begin next after `now`; infinity if there are none."""
    offset = round(campaign.utc_offset_hours * 3_600)
    start, end = (round(hour * 3_600) for hour in (campaign.quiet_from, campaign.quiet_until))
    if start == end:
        return float("inf")
    midnight = (now + offset) // DAY * DAY
    begins = midnight + start % DAY - offset
    return begins if begins > now else begins + DAY


def frequency_key(campaign: Campaign, shadow: bool) -> str:
    """Return the name under which sends are counted. Shadow mode counts apart, because nothing was really sent."""
    return f"shadow/{campaign.id}" if shadow else campaign.id


def _blocking_reason(kind: str, ledger: Ledger, campaign: Campaign, now: float, shadow: bool) -> str | None:
    before = ledger.send_count(frequency_key(campaign, shadow), kind)
    if kind == "coupon":
        has_open = any(offer.campaign == campaign.id and offer.until > now for offer in ledger.offers)
        if has_open or len(ledger.offers) >= MAX_OFFERS:
            return "open_offer"
        if before.times >= campaign.cap_per_person:
            return "cap"
    cool_down = campaign.cool_down_days if kind == "coupon" else campaign.contact_cool_down_days
    return "cool_down" if now - before.at < cool_down * DAY else None
