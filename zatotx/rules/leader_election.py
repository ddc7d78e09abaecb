"""The leader election of the scheduler, as a pure state machine.

A candidate needs a lease in Redis and an epoch in the ODB, which grows with each leader. The lease decides among nodes
that see the same Redis; the epoch decides where Redis lost its data, or where two nodes see two of them: a leader whose
epoch is not the newest one of the ODB does not fire, and Redis refuses the writes of outdated epochs. The wall clock is
compared with that of Redis, since all leaders must agree on the time at which a tick is due.

==============  ======================================================================================
phase           meaning
==============  ======================================================================================
FOLLOWING       another node leads, or none does; this one asks for the lease while its clock is right
CLAIMING        the lease is held, and the epoch is not yet
LEADING         both are held
==============  ======================================================================================
"""

from __future__ import annotations

from enum import Enum

from attrs import evolve, frozen

LEASE = 'scheduler'  # name of the lease
LEASE_TTL = 6.0  # seconds; renewed at a third of it
MAX_CLOCK_OFFSET = 2.0  # seconds between the clocks of a leader and of Redis
CLOCK_INTERVAL = 2.0  # seconds between two comparisons of the clocks
CONFIRM_INTERVAL = 5.0  # seconds between two reads of the newest epoch
RIVAL_SILENCE = 12.0  # seconds without a confirmation after which a leader with a higher lease token counts as dead


class ElectionPhase(Enum):
    """The phase of a node in the election: follower, claiming the leadership, or leader."""

    FOLLOWING = 'following'
    CLAIMING = 'claiming'
    LEADING = 'leading'


@frozen
class KnownLeader:
    """The last leader record that this node read from the ODB. `changed_at` is the time at which the record last
    changed, in seconds on this node's monotonic clock."""

    epoch: int = 0
    lease_token: int = 0
    is_vacant: bool = True  # there was none yet, or it has resigned
    confirmed_at: float = 0.0  # of the record, by the clock of the leader; only compared for equality
    changed_at: float = 0.0


@frozen
class ElectionState:
    """The election state of one node."""

    phase: ElectionPhase = ElectionPhase.FOLLOWING
    lease_token: int = 0  # 0 = no lease
    epoch: int = 0  # 0 = none
    clock_offset: float | None = None  # seconds by which this node's clock is ahead of that of Redis; None = unknown
    known: KnownLeader = KnownLeader()

    @property
    def is_clock_right(self) -> bool:
        """Whether the wall clock was compared and may be used."""
        return self.clock_offset is not None and abs(self.clock_offset) <= MAX_CLOCK_OFFSET


def record_clock_offset(state: ElectionState, offset: float) -> ElectionState:
    """Return the election state after this node's clock was compared with that of Redis."""
    return evolve(state, clock_offset=offset)


def record_known_leader(state: ElectionState, record: KnownLeader, now: float) -> ElectionState:
    """Return the election state after the leader record was read from the ODB. `now` is in seconds on the monotonic
    clock."""
    known = state.known
    is_same = (record.epoch, record.confirmed_at) == (known.epoch, known.confirmed_at)
    return evolve(state, known=evolve(record, changed_at=known.changed_at if is_same else now))


def may_request_lease(state: ElectionState) -> bool:
    """Return whether the node may request the lease."""
    return state.phase is ElectionPhase.FOLLOWING and state.is_clock_right


def record_lease_grant(state: ElectionState, token: int) -> ElectionState:
    """Return the election state after the lease was granted."""
    return evolve(state, phase=ElectionPhase.CLAIMING, lease_token=token, epoch=0)


def may_claim_epoch(state: ElectionState, now: float) -> bool:
    """Return whether the lease holder may become the leader of the next epoch. Lease tokens always increase, even after
    Redis lost its data. If the token is lower than the last leader's, it comes from a different Redis server, and the
    holder must wait until the last leader has stopped updating its record."""
    known = state.known
    if state.phase is not ElectionPhase.CLAIMING:
        return False
    if known.is_vacant or state.lease_token > known.lease_token:
        return True
    return now - known.changed_at > RIVAL_SILENCE


def record_won_epoch(state: ElectionState, epoch: int) -> ElectionState:
    """Return the election state after the epoch was claimed, in which this node is the leader."""
    return evolve(state, phase=ElectionPhase.LEADING, epoch=epoch)


def record_resignation(state: ElectionState) -> ElectionState:
    """Return the election state after the node gave up its lease and its epoch."""
    return evolve(state, phase=ElectionPhase.FOLLOWING, lease_token=0, epoch=0)


def resignation_reason(state: ElectionState) -> str:
    """Return the reason why a leader must resign, as a clause, or '' if it may remain the leader."""
    if state.phase is not ElectionPhase.LEADING:
        return ''
    if not state.is_clock_right:
        return f'its clock is {state.clock_offset or 0:+.1f} s off that of Redis: set the clocks of both by NTP'
    if state.known.epoch > state.epoch:
        return f'the ODB has a newer leader, of epoch {state.known.epoch}'
    return ''


def may_write_ticks(state: ElectionState, *, is_lease_held: bool) -> bool:
    """Return whether the node may write ticks at this moment."""
    return state.phase is ElectionPhase.LEADING and is_lease_held and not resignation_reason(state)
