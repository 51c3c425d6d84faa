"""Campaigns, and the decision whether a person gets something: pure, and with a reason either way."""

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
    """What is offered: a coupon of an amount, to be used within some days."""

    name: Name
    amount: Annotated[float, Meta(gt=0, le=1e6)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] = "EUR"
    valid_days: Annotated[float, Meta(gt=0, le=365)] = 7.0


class Campaign(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people may get and when. `version` is set when it is published, from its contents.

    Quiet hours are local ones, from `quiet_from` to `quiet_until`, past midnight too; equal ones mean none.
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
    """What was decided for a candidate; `retry` is the moment to ask again, where there is one."""

    reason: str
    campaign: Campaign | None = None
    counts: bool = False
    retry: float | None = None

    @property
    def sent(self) -> bool:
        """Whether it goes out."""
        return self.reason == "sent"


def decide(
    kind: Literal["coupon", "contact"],
    person_id: str,
    ledger: Ledger,
    campaign: Campaign | None,
    now: float,
    shadow: bool,
    late: float = 0.0,
) -> Verdict:
    """Decide whether a person gets a coupon or a contact now.

    The hold-out is asked after everything else, so that those who are held out are comparable with those who are
    sent something: both would have been. They count for caps and cool-downs alike.

    Args:
        kind: what it would be.
        person_id: only its place in the hold-out is taken from it.
        ledger: what the person has had, and their consent.
        campaign: the one that is running.
        now: seconds since 1970 UTC: the moment of the cause, not of the machine.
        shadow: nothing is sent, whatever is decided; what would have been counts for later shadow alone.
        late: seconds by which it may leave later than `now`, as timers does; it must not be night then either.

    Returns:
        The verdict; its reason is one of `REASONS`.
    """
    if campaign is None or not campaign.enabled:
        return Verdict("no_campaign")
    if ledger.consent < 0 or (campaign.needs_consent and ledger.consent == 0):
        return Verdict("no_consent", campaign)
    blocked = _blocked(kind, ledger, campaign, now, shadow)
    if blocked:
        return Verdict(blocked, campaign)
    quiet_end = quiet_hours_end(campaign, now) or quiet_hours_end(campaign, now + late)
    if quiet_end is not None:
        return Verdict("quiet_hours", campaign, retry=quiet_end)
    if is_held_out(person_id, campaign):
        return Verdict("hold_out", campaign, counts=True)
    return Verdict("shadow" if shadow else "sent", campaign, counts=True)


def is_held_out(person_id: str, campaign: Campaign) -> bool:
    """Return whether a person gets nothing of a campaign, ever: sticky, and independent of other campaigns."""
    return hash_share(person_id, f"hold-out/{campaign.id}") < campaign.hold_out


def quiet_hours_end(campaign: Campaign, now: float) -> float | None:
    """Return when the quiet hours end in which `now` lies, or nothing if it lies in none."""
    offset = round(campaign.utc_offset_hours * 3_600)
    start, end = (round(hour * 3_600) for hour in (campaign.quiet_from, campaign.quiet_until))
    second = (now + offset) % DAY
    quiet = start <= second < end if start <= end else second >= start or second < end
    if not quiet:
        return None
    midnight = (now + offset) // DAY * DAY
    return midnight + end + (DAY if second >= end else 0.0) - offset


def next_quiet_start(campaign: Campaign, now: float) -> float:
    """Return when the quiet hours begin next after `now`, infinity if there are none."""
    offset = round(campaign.utc_offset_hours * 3_600)
    start, end = (round(hour * 3_600) for hour in (campaign.quiet_from, campaign.quiet_until))
    if start == end:
        return float("inf")
    midnight = (now + offset) // DAY * DAY
    begins = midnight + start % DAY - offset
    return begins if begins > now else begins + DAY


def frequency_key(campaign: Campaign, shadow: bool) -> str:
    """Return the name under which caps and cool-downs are counted. Shadow mode sends nothing, so it counts apart."""
    return f"shadow/{campaign.id}" if shadow else campaign.id


def _blocked(kind: str, ledger: Ledger, campaign: Campaign, now: float, shadow: bool) -> str | None:
    before = ledger.send_count(frequency_key(campaign, shadow), kind)
    if kind == "coupon":
        mine = any(offer.campaign == campaign.id and offer.until > now for offer in ledger.offers)
        if mine or len(ledger.offers) >= MAX_OFFERS:
            return "open_offer"
        if before.times >= campaign.cap_per_person:
            return "cap"
    cool_down = campaign.cool_down_days if kind == "coupon" else campaign.contact_cool_down_days
    return "cool_down" if now - before.at < cool_down * DAY else None
