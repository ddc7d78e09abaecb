"""zatotx.connectors.blocking_pool: slots that are leased for several calls, and pools that drain."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from trial_tests.support.thread_clock import PATIENCE, ThreadClock
from zatotx.connectors.blocking_pool import BlockingPool, BlockingPoolClosed, SlotHeldByCaller, SlotLease
from zatotx.connectors.call_policies import CallTimedOut


class SlotLeaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.pool = BlockingPool(as_reactor(self.clock), 1, 'test-pool')
        self.addCleanup(self.end)

    def end(self) -> None:
        closed = self.pool.close()
        while not closed.called:
            self.clock.turn()

    def lease(self, owner: object = None, revoked: Any = None) -> SlotLease:
        """A lease that has its slot."""
        return self.successResultOf(self.pool.lease(timeout=5.0, owner=owner, revoked=revoked))

    def wait(self, calling: Deferred[Any]) -> None:
        """Until the call has ended."""
        while not calling.called:
            self.clock.turn()

    def test_a_lease_keeps_its_slot_between_calls(self) -> None:
        """Calls of others wait until the lease is released; it occupies a thread only while its calls run."""
        lease = self.lease()
        self.assertEqual((self.pool.leased, self.pool.running), (1, 0))
        other = self.pool.run(lambda: 'other', timeout=5.0)
        first = lease.run(lambda: 'first', timeout=5.0)
        self.wait(first)
        self.assertEqual(self.successResultOf(first), 'first')
        self.assertEqual(self.pool.running, 0)
        self.assertNoResult(other)
        lease.release()
        lease.release()
        self.wait(other)
        self.assertEqual(self.successResultOf(other), 'other')
        self.failureResultOf(lease.run(lambda: None, timeout=5.0), BlockingPoolClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_calls_of_a_lease_run_one_after_the_other(self) -> None:
        """A call waits for those of its lease before it; one that is given up meanwhile is not run."""
        lease, may_end, order = self.lease(), threading.Event(), list[int]()
        self.addCleanup(may_end.set)
        first = lease.run(may_end.wait, PATIENCE, timeout=5.0)
        dropped = lease.run(order.append, 2, timeout=1.0)
        third = lease.run(order.append, 3, timeout=5.0)
        self.clock.advance(1.0)
        self.failureResultOf(dropped, CallTimedOut)
        lease.release()
        self.assertEqual(self.pool.leased, 1)
        may_end.set()
        self.wait(first)
        self.wait(third)
        self.assertEqual((order, self.pool.leased), ([3], 0))

    def test_waiting_for_a_lease(self) -> None:
        """A lease waits for a slot, until its timeout or until it is cancelled."""
        lease = self.lease()
        late, cancelled, next_one = (self.pool.lease(timeout=seconds) for seconds in (1.0, 5.0, 5.0))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.clock.advance(1.0)
        self.failureResultOf(late, CallTimedOut)
        lease.release()
        self.successResultOf(next_one).release()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_owner_does_not_wait_for_itself(self) -> None:
        """Who leases all slots fails at once; others wait, and so does an owner that is about to release one."""
        me, other = object(), object()
        lease = self.lease(me)
        self.failureResultOf(self.pool.lease(timeout=5.0, owner=me), SlotHeldByCaller)
        self.failureResultOf(self.pool.run(lambda: None, timeout=5.0, owner=me), SlotHeldByCaller)
        waiting = [self.pool.lease(timeout=5.0, owner=other), self.pool.lease(timeout=5.0)]
        lease.is_ending = True
        waiting.append(self.pool.lease(timeout=5.0, owner=me))
        lease.release()
        for each in waiting:
            self.successResultOf(each).release()

    def test_closing_revokes_leases(self) -> None:
        """The owner of a lease is told, and may run a last call before the slot is gone."""
        ended: list[str] = []
        leases: list[SlotLease] = []
        leases.append(self.lease(revoked=lambda: leases[0].run(ended.append, 'rolled back', timeout=5.0)))
        closed = self.pool.close()
        self.wait(closed)
        self.assertEqual(ended, ['rolled back'])

    def test_draining(self) -> None:
        """A pool that drains ends what it has accepted, leases and waiting calls included, and takes nothing more."""
        lease = self.lease()
        waiting = self.pool.run(lambda: 'waited', timeout=5.0)
        drained = self.pool.drain()
        self.failureResultOf(self.pool.run(lambda: None, timeout=5.0), BlockingPoolClosed)
        self.failureResultOf(self.pool.lease(timeout=5.0), BlockingPoolClosed)
        running = lease.run(lambda: 'in the lease', timeout=5.0)
        self.wait(running)
        self.assertNoResult(drained)
        lease.release()
        self.wait(waiting)
        self.assertEqual(self.successResultOf(waiting), 'waited')
        self.successResultOf(drained)
