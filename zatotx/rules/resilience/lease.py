"""Leases: who may believe to hold one, until when, and what a resource lets pass.

A lease runs out on the server's clock `ttl` seconds after the last request for it arrived there. A holder counts by
its own clock from the moment *before* it sent that request, and stops a little earlier: so its belief ends first, as
long as the two clocks run at about the same speed. Its clock is monotonic, and a pause of the process or the machine
counts as time. That of a Redis server may be set, and such a jump, like a loss of its data, can let two holders
overlap. Then the tokens decide: they only grow, and a resource refuses a lower one than it saw.
"""

from __future__ import annotations

from attrs import evolve, frozen

DRIFT = 0.01  # the part by which two clocks may differ in speed
MARGIN = 0.05  # seconds; at most a tenth of a short lease
SHORTEST, LONGEST = 0.2, 86_400.0  # seconds of a ttl

_COUNTER_BITS = 32  # 2**21 epochs of 2**32 tokens stay exact in Lua's numbers


@frozen(kw_only=True)
class LeaseClaim:
    """What one holder knows of its lease. Times are of its own clock, in seconds."""

    ttl: float
    token: int = 0  # 0 = not held
    asked: float = 0.0  # when the request was sent that was granted last
    until: float = 0.0  # the end of the belief

    def holds(self, now: float) -> bool:
        """Whether it may act now."""
        return self.token > 0 and now < self.until


def granted(claim: LeaseClaim, token: int, sent: float) -> LeaseClaim:
    """The claim after the server granted or renewed it, upon a request that was sent at `sent`."""
    until = sent + claim.ttl * (1 - DRIFT) - min(MARGIN, claim.ttl / 10)
    if token == claim.token and until < claim.until:
        return claim  # an old answer that came late says nothing new
    return evolve(claim, token=token, asked=sent, until=until)


def refused(claim: LeaseClaim) -> LeaseClaim:
    """The claim after the server said that it is not ours."""
    return evolve(claim, token=0, until=0.0)


def renewal(claim: LeaseClaim, now: float, *, failed: bool) -> float | None:
    """When to ask for more time; None where the claim is over. `failed`: the last request got no answer, so the next
    one follows sooner."""
    if not claim.holds(now):
        return None
    if failed:
        return min(now + claim.ttl / 20, claim.until)
    return max(now, claim.asked + claim.ttl / 3)


def first_token(epoch: int) -> int:
    """What tokens of that epoch are greater than, and all of earlier epochs smaller. `epoch`: 1, 2, 3 …"""
    return epoch << _COUNTER_BITS


def admits(highest: int, token: int) -> bool:
    """Whether a resource that saw `highest` takes a write with `token`."""
    return token >= highest > -1 and token > 0


def ttl_error(ttl: float) -> str:
    """What is wrong with a ttl, a sentence; '' = nothing."""
    if SHORTEST <= ttl <= LONGEST:
        return ''
    return f'The ttl of a lease is {SHORTEST:g} to {LONGEST:,.0f} seconds, not {ttl:g}'
