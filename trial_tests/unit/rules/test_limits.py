"""Tests of the concurrency limit, with the reactor, threads and other workers."""

from __future__ import annotations

from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit


class GateTests(SynchronousTestCase):
    def test_lets_in_up_to_its_limit(self) -> None:
        """Calls above the limit are rejected and counted until a slot is released."""
        gate = ConcurrencyLimit(2)
        self.assertEqual([gate.enter() for _ in range(3)], [True, True, False])
        self.assertEqual((gate.total_active, gate.rejected, gate.is_full), (2, 1, True))
        gate.leave()
        self.assertFalse(gate.is_full)
        self.assertTrue(gate.enter())

    def test_a_new_limit_holds_for_those_who_come(self) -> None:
        """A lower limit affects new calls only; a higher one takes effect immediately."""
        gate = ConcurrencyLimit(2)
        gate.enter()
        gate.enter()
        gate.limit = 1
        gate.leave()
        self.assertFalse(gate.enter())
        gate.limit = 2
        self.assertTrue(gate.enter())
        self.assertEqual(gate.total_active, 2)

    def test_threads_and_the_reactor_share_the_places(self) -> None:
        """Threads and the reactor share the slots."""
        gate = ConcurrencyLimit(2)
        self.assertTrue(gate.enter_from_thread())
        self.assertEqual([gate.enter(), gate.enter()], [True, False])
        self.assertFalse(gate.enter_from_thread())
        gate.leave_from_thread()
        self.assertTrue(gate.enter())
        self.assertEqual(gate.total_active, 2)

    def test_many_threads_lose_no_count(self) -> None:
        """With concurrent threads and the reactor, the count is zero in the end."""
        gate = ConcurrencyLimit(1_000)

        def come_and_go() -> None:
            for _ in range(2_000):
                if gate.enter_from_thread():
                    gate.leave_from_thread()

        threads = [Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20_000):
            if gate.enter():
                gate.leave()
        for thread in threads:
            thread.join()
        self.assertEqual((gate.total_active, gate.rejected), (0, 0))
        self.assertEqual([gate.enter() for _ in range(1_001)].count(True), 1_000)

    def test_what_is_inside_elsewhere_counts(self) -> None:
        """Two workers share the limit by publishing their counts."""
        board = {'a': 0, 'b': 0}
        a = ConcurrencyLimit(3, count_others=lambda: board['b'], publish=lambda inside: board.update(a=inside))
        b = ConcurrencyLimit(3, count_others=lambda: board['a'], publish=lambda inside: board.update(b=inside))
        self.assertEqual([a.enter(), b.enter(), a.enter()], [True, True, True])
        self.assertEqual((b.enter(), a.enter_from_thread()), (False, False))
        self.assertEqual(board, {'a': 2, 'b': 1})
        a.leave()
        self.assertEqual(board, {'a': 1, 'b': 1})
        self.assertTrue(b.enter_from_thread())
        b.leave_from_thread()
        self.assertEqual((board, b.is_full), ({'a': 1, 'b': 1}, False))

    def test_the_last_place_is_never_given_twice(self) -> None:
        """An entry is published before the other counts are read, so that concurrent workers see it."""
        board = {'a': 0}
        seen: list[int] = []

        def others() -> int:
            seen.append(board['a'])
            return 1

        gate = ConcurrencyLimit(1, count_others=others, publish=lambda inside: board.update(a=inside))
        self.assertFalse(gate.enter())
        self.assertEqual((seen, board), ([1], {'a': 0}))
