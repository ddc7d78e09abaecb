"""Leases with fencing tokens. The rules say how long a holder may rely on its lease, when it must renew the lease, and
which tokens a resource accepts.

A lease expires on the server's clock `ttl` seconds after the last request for it arrived. The holder counts on its own
clock from the moment *before* it sent that request, and stops slightly earlier, so that its lease ends first if both
clocks run at about the same speed. Its clock is monotonic and includes pauses of the process or machine. The clock of a
Redis server may be set; such a jump, like a loss of its data, can make two holders overlap. Fencing tokens protect
against that: they only increase, and a resource rejects tokens lower than the highest it has seen.
"""

from __future__ import annotations

from attrs import evolve, frozen

MAX_CLOCK_DRIFT = 0.01  # maximum relative difference in clock speed
EXPIRY_MARGIN = 0.05  # seconds; at most a tenth of the ttl
MIN_TTL, MAX_TTL = 0.2, 86_400.0  # bounds of a ttl in seconds

_COUNTER_BITS = 32  # 2**21 epochs of 2**32 tokens are exact in Lua's numbers


@frozen(kw_only=True)
class LeaseClaim:
    """A lease from the point of view of its holder. Times are in seconds on the holder's clock."""

    ttl: float
    token: int = 0  # 0 = not held
    requested_at: float = 0.0  # when the last granted request was sent
    expires_at: float = 0.0  # when the lease ends for the holder

    def is_held(self, now: float) -> bool:
        """Return whether the lease is held now."""
        return self.token > 0 and now < self.expires_at


def claim_after_grant(claim: LeaseClaim, token: int, requested_at: float) -> LeaseClaim:
    """Return the claim after the server granted or renewed the lease. `requested_at` is the time at which the request
    was sent."""
    end = requested_at + claim.ttl * (1 - MAX_CLOCK_DRIFT) - min(EXPIRY_MARGIN, claim.ttl / 10)
    if token == claim.token and end < claim.expires_at:
        return claim  # a late response to an older request
    return evolve(claim, token=token, requested_at=requested_at, expires_at=end)


def claim_after_rejection(claim: LeaseClaim) -> LeaseClaim:
    """Return the claim after the server reported that this holder does not hold the lease."""
    return evolve(claim, token=0, expires_at=0.0)


def next_renewal(claim: LeaseClaim, now: float, *, failed: bool) -> float | None:
    """Return the time at which to renew the lease, or None if the lease is not held. `failed` says whether the last
    renewal request got no response; in this case the next request is sent sooner."""
    if not claim.is_held(now):
        return None
    if failed:
        return min(now + claim.ttl / 20, claim.expires_at)
    return max(now, claim.requested_at + claim.ttl / 3)


def lowest_token_of_epoch(epoch: int) -> int:
    """Return the lower bound of the fencing tokens of an epoch (1, 2, 3 …). The tokens of earlier epochs are
    smaller."""
    return epoch << _COUNTER_BITS


def is_token_accepted(highest: int, token: int) -> bool:
    """Return whether a resource accepts a write with `token`. `highest` is the highest token that the resource has
    seen."""
    return token >= highest > -1 and token > 0


def lease_ttl_error(ttl: float) -> str:
    """Return an error message if the TTL of a lease is invalid, otherwise ''."""
    if MIN_TTL <= ttl <= MAX_TTL:
        return ''
    return f'The ttl of a lease is {MIN_TTL:g} to {MAX_TTL:,.0f} seconds, not {ttl:g}'
