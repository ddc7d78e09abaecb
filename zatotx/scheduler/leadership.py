"""Takes part in the election of the scheduler's leader. It holds the lease, claims the epoch, and runs a term of
leadership as long as both are valid.

The decisions are in zatotx.rules.leader_election. A node that follows asks for the lease when it is about to expire, or
when the leader announces that it has released it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from zatotx.interfaces.redis import ILease, ILeaseStore, IPubSub, LeaseHeld
from zatotx.interfaces.scheduler import ILeaderStore, LeaderRecord
from zatotx.rules.leader_election import (
    CLOCK_INTERVAL,
    CONFIRM_INTERVAL,
    LEASE,
    LEASE_TTL,
    ElectionState,
    KnownLeader,
    may_claim_epoch,
    may_request_lease,
    may_write_ticks,
    record_clock_offset,
    record_known_leader,
    record_lease_grant,
    record_resignation,
    record_won_epoch,
    resignation_reason,
)

TOPIC = 'scheduler'  # announcements that the lease is free
RETRY = 1.0  # seconds until a node that did not get the lease asks again
_EXPIRY_MARGIN = 0.02  # seconds after the end of a lease at which it is asked for
_STEP_TIMEOUT = 1.0  # seconds that the steps of a resignation may take, each


class ILeadershipTerm(Protocol):
    """The interface of a term of leadership, during which ticks are written."""

    def start(self) -> None:
        """Begin to write ticks."""

    def stop(self) -> Deferred[None]:
        """Write no more ticks; fires when the last writes have ended."""

    def written_until(self) -> float:
        """Return the unix time until which all ticks have been written."""


# Called with the epoch and the record of the former leader, a function that tells whether this node may fire, and one
# that ends the term with a reason; returns a term that is not started yet.
MakeTerm = Callable[[int, LeaderRecord, Callable[[], bool], Callable[[str], None]], Awaitable[ILeadershipTerm]]


@define(eq=False, kw_only=True)
class LeaderElectionParticipant:
    """Takes part in the leader election. `now` returns unix time; the Deferred of `read_server_clock` fires with the
    time of Redis."""

    clock: IReactorTime
    now: Callable[[], float]
    monotonic: Callable[[], float]
    leases: ILeaseStore
    leaders: ILeaderStore
    read_server_clock: Callable[[], Deferred[float]]
    bus: IPubSub
    make_term: MakeTerm
    node: str
    node_id: int = 0
    state: ElectionState = field(factory=ElectionState, init=False)
    term: ILeadershipTerm | None = field(default=None, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _pausing: Deferred[None] | None = field(default=None, init=False)
    _is_stopping: bool = field(default=False, init=False)
    _ended: Deferred[str] | None = field(default=None, init=False)  # fires with the reason why the term must end
    _problem: str = field(default='', init=False)  # the last one that was logged
    _compared: tuple[float, float] = field(default=(0.0, 0.0), init=False)  # wall and monotonic clock when compared

    _log = Logger()

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""
        return self.term is not None

    def checked_now(self) -> float:
        """Return unix time: that of the last comparison with Redis, and the time since then by the monotonic clock. If
        the wall clock is set meanwhile, no tick is due because of it: the next comparison finds out."""
        wall, monotonic = self._compared
        return wall + self.monotonic() - monotonic

    def start(self, node_id: int) -> None:
        """Take part in the election. `node_id`: of this process's row in the ODB."""
        self.node_id, self._is_stopping = node_id, False
        self.bus.subscribe(TOPIC, lambda message: self._wake())
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._stopped)

    def stop(self) -> Deferred[None]:
        """Resign. Fires when the lease is released."""
        self._is_stopping = True
        running, self._running = self._running, None
        if running is None:
            return succeed(None)
        running.cancel()
        return running

    async def _run(self) -> None:
        # A cancellation may end one step of a resignation only: then the flag ends the loop.
        while not self._is_stopping:
            pause = RETRY
            try:
                await self._compare_clocks()
                if may_request_lease(self.state):
                    await self._lead(await self.leases.acquire(LEASE, ttl=LEASE_TTL))
                else:
                    self._log_problem(f'the clock of this server is {self.state.clock_offset or 0:+.1f} s off that of '
                                      'Redis, so that it cannot lead: set the clocks of both by NTP')  # fmt: skip
            except LeaseHeld as held:
                self._problem = ''
                pause = min(RETRY, held.expires_in + _EXPIRY_MARGIN)
            except CancelledError:
                raise
            except Exception as error:
                self._log_problem(str(error))
            if not self._is_stopping:
                await self._pause(pause)

    async def _lead(self, lease: ILease) -> None:
        """Use a lease: claim the epoch, and run a term until it ends."""
        self.state = record_lease_grant(self.state, lease.token)
        epoch, reason, record = 0, '', LeaderRecord()
        try:
            record = await self._read_record()
            if not may_claim_epoch(self.state, self.monotonic()):
                self._log_problem(f'the ODB says that {record.node} leads, with a newer lease: Redis may have been '
                                  'divided, or restored from a backup')  # fmt: skip
                return
            epoch = await self.leaders.claim_leadership(record.epoch, lease.token, self.node, self.node_id)
            if epoch:
                self.state, self._problem = record_won_epoch(self.state, epoch), ''
                reason = await self._run_term(lease, record, epoch)
        finally:
            await self._resign(lease, epoch, record.written_until, reason)

    async def _run_term(self, lease: ILease, record: LeaderRecord, epoch: int) -> str:
        ended = self._ended = Deferred()
        lease.when_lost().addCallback(self._end)
        self.term = await self.make_term(
            epoch, record, lambda: may_write_ticks(self.state, is_lease_held=lease.is_held), self._end
        )
        self._log.info('{node} leads the scheduler from now on, epoch {epoch}', node=self.node, epoch=epoch)
        loops = [self._repeat(self._compare_clocks, CLOCK_INTERVAL), self._repeat(self._confirm, CONFIRM_INTERVAL)]
        try:
            self.term.start()
            reason: str = await ended
            return reason
        finally:
            for loop in loops:
                loop.stop()

    async def _resign(self, lease: ILease, epoch: int, written_until: float, reason: str) -> None:
        """End the term if there is one, and release the lease. Each step is limited in time: what fails is healed by
        expiration."""
        self.state = record_resignation(self.state)
        term, self.term, self._ended = self.term, None, None
        if term is not None:
            written_until = term.written_until()
            await self._limited(term.stop())
            self._log.info('{node} does not lead the scheduler any more{why}', node=self.node,
                           why=f': {reason}' if reason else '')  # fmt: skip
        if epoch:
            await self._limited(self.leaders.resign_leadership(epoch, written_until))
        await self._limited(lease.release())
        if epoch:
            await self._limited(self.bus.publish(TOPIC, 'released'))

    async def _read_record(self) -> LeaderRecord:
        record = await self.leaders.leader()
        known = KnownLeader(epoch=record.epoch, lease_token=record.lease_token, is_vacant=not record.node,
                            confirmed_at=record.confirmed_at)  # fmt: skip
        self.state = record_known_leader(self.state, known, self.monotonic())
        return record

    async def _compare_clocks(self) -> None:
        before = self.now()
        server = await self.read_server_clock()
        after = self.now()
        self.state = record_clock_offset(self.state, (before + after) / 2 - server)
        if self.state.is_clock_right:
            self._compared = after, self.monotonic()
        self._end_if_needed()

    async def _confirm(self) -> None:
        """Confirm that this node leads, or learn that it does not."""
        if self.term is None:
            return
        if not await self.leaders.confirm_leadership(self.state.epoch, self.term.written_until()):
            await self._read_record()
            self._end_if_needed()

    def _end_if_needed(self) -> None:
        if reason := resignation_reason(self.state):
            self._end(reason)

    def _end(self, reason: str) -> None:
        if self._ended is not None and not self._ended.called:
            self._ended.callback(reason)

    def _repeat(self, step: Callable[[], Awaitable[None]], interval: float) -> LoopingCall:
        loop = LoopingCall(lambda: Deferred.fromCoroutine(_quietly(step)))
        loop.clock = self.clock
        loop.start(interval, now=False)
        return loop

    async def _limited(self, step: Deferred[Any]) -> None:
        try:
            await step.addTimeout(_STEP_TIMEOUT, self.clock)
        except Exception as error:
            self._log.debug('A step of the resignation failed: {why}', why=str(error) or type(error).__name__)

    async def _pause(self, seconds: float) -> None:
        self._pausing = deferLater(self.clock, seconds)
        try:
            await self._pausing
        except CancelledError:
            if self._is_stopping:
                raise  # otherwise an announcement ended the pause
        finally:
            self._pausing = None

    def _wake(self) -> None:
        if self._pausing is not None:
            self._pausing.cancel()

    def _log_problem(self, problem: str) -> None:
        """Log a problem once, until there is another one."""
        if problem != self._problem:
            self._problem = problem
            self._log.warn('The scheduler cannot be led by {node}: {why}', node=self.node, why=problem)

    def _stopped(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure('{node} takes no part in the election any more', failure, node=self.node)


async def _quietly(step: Callable[[], Awaitable[None]]) -> None:
    """Do a step whose failure needs no reaction: while Redis is away the lease expires, and while the ODB is away the
    leader stays in office."""
    try:
        await step()
    except CancelledError:
        raise
    except Exception as error:
        LeaderElectionParticipant._log.debug(
            'The leader of the scheduler cannot be confirmed now: {why}', why=str(error)
        )
