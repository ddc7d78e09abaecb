"""The budget of bytes that a process holds in memory, and when it collects garbage and trims."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import product

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.node import gc_tuning
from zatotx.node.gc_tuning import CHECK_INTERVAL, MemoryTrimmer, make_garbage_collector
from zatotx.rules.limits.memory_budget import (
    AUTHENTICATED,
    COLLECT_AFTER,
    DEFAULT_LIMIT,
    EARLY_SPOOL_SIZE,
    FULL_COLLECT_AFTER,
    MAX_BACKOFF,
    MAX_UNACCOUNTED,
    MIDDLE,
    MIN_LIMIT,
    MIN_SPOOL_SIZE,
    OLDEST,
    UNAUTHENTICATED,
    CollectionTrigger,
    MemoryBudget,
    MemoryReservation,
    TrimTrigger,
)

MB = 1024 * 1024


class Model:
    """What a charge holds, as plainly as it can be said."""

    def __init__(self) -> None:
        self.size = self.sort = 0
        self.open = True


OPERATIONS: dict[str, Callable[[MemoryReservation], object]] = {
    'add 1': lambda charge: charge.reserve(1),
    'add 4': lambda charge: charge.reserve(4),
    'give back': lambda charge: charge.release(1),
    'received': MemoryReservation.mark_received,
    'known': MemoryReservation.mark_authenticated,
    'close': MemoryReservation.close,
}


class ByteBudgetTests(SynchronousTestCase):
    def apply(self, name: str, charge: MemoryReservation, models: list[Model], model: Model, limit: int) -> None:
        """One operation, on the charge and on its model, which say the same of it."""
        if name == 'give back' and not model.size:
            return
        got = OPERATIONS[name](charge)
        if not model.open:
            self.assertIn(got, (None, False))
        elif name.startswith('add'):
            size = int(name[-1])
            fits = all(size + sum(m.size for m in models if m.sort <= sort) <= limit // (4 >> sort)
                       for sort in range(model.sort, 3))
            self.assertEqual(got, fits, name)
            model.size += size if fits else 0
        elif name == 'give back':
            model.size -= 1
        elif name == 'close':
            model.open, model.size = False, 0
        else:
            model.sort = max(model.sort, 1 if name == 'received' else 2)

    def test_every_history(self) -> None:
        """Of two charges and five operations: what is held is what the open ones hold, each bound holds, nothing is
        given back twice, and nothing is left when both are closed. The charges are alike: the first operation is always
        on the first one."""
        limit = 16
        for history in product(product(OPERATIONS, (0,)), *[product(OPERATIONS, (0, 1))] * 3):
            budget = MemoryBudget(limit)
            charges, models = [MemoryReservation(budget), MemoryReservation(budget)], [Model(), Model()]
            for name, which in history:
                self.apply(name, charges[which], models, models[which], limit)
                self.assertEqual(budget.used, sum(model.size for model in models), history)
            for charge in charges:
                charge.close()
            self.assertEqual(budget.used, 0, history)

    def test_who_comes_first(self) -> None:
        """Bodies of strangers that come in take a quarter, strangers half, callers with a login all of it; who finds no
        room is counted."""
        budget = MemoryBudget(100)
        coming, complete, known = (
            MemoryReservation(budget),
            MemoryReservation(budget, UNAUTHENTICATED),
            MemoryReservation(budget, AUTHENTICATED),
        )
        self.assertEqual((coming.reserve(25), coming.reserve(1)), (True, False))
        self.assertEqual((complete.reserve(25), complete.reserve(1)), (True, False))
        self.assertEqual((known.reserve(50), known.reserve(1)), (True, False))
        self.assertEqual((budget.used, budget.rejected), (100, 3))

    def test_a_login_makes_room(self) -> None:
        """What a caller holds counts for fewer bounds once it is authenticated."""
        budget = MemoryBudget(100)
        one, other = MemoryReservation(budget), MemoryReservation(budget)
        self.assertTrue(one.reserve(25))
        self.assertFalse(other.reserve(1))
        one.mark_authenticated()
        self.assertTrue(other.reserve(25))

    def test_pressure(self) -> None:
        """Half of what may come in makes bodies leave memory early, most of it at once; so does much of all."""
        budget = MemoryBudget(800 * MB)
        charge = MemoryReservation(budget)
        for size, above in ((99 * MB, MB), (MB, EARLY_SPOOL_SIZE), (74 * MB, EARLY_SPOOL_SIZE), (MB, MIN_SPOOL_SIZE)):
            self.assertTrue(charge.reserve(size))
            self.assertEqual(budget.spool_threshold(MB), above)
        self.assertEqual(budget.spool_threshold(100), 100)
        charge.close()
        MemoryReservation(budget, AUTHENTICATED).reserve(599 * MB)
        self.assertEqual(budget.spool_threshold(MB), MB)
        MemoryReservation(budget, AUTHENTICATED).reserve(MB)
        self.assertEqual(budget.spool_threshold(MB), EARLY_SPOOL_SIZE)


    def test_sizes(self) -> None:
        """The sizes are those of the documentation."""
        self.assertEqual((DEFAULT_LIMIT, MIN_LIMIT, MemoryBudget().limit), (384 * MB, 64 * MB, 384 * MB))
        self.assertEqual((EARLY_SPOOL_SIZE, MIN_SPOOL_SIZE, MAX_UNACCOUNTED), (65_536, 4_096, 4_096))

    def test_who_is_told(self) -> None:
        """Every increase is reported with the new total; what was refused is not."""
        grown: list[tuple[int, int]] = []
        budget = MemoryBudget(100, lambda size, held: grown.append((size, held)))
        one, other = MemoryReservation(budget, AUTHENTICATED), MemoryReservation(budget)
        self.assertEqual(
            [one.reserve(60), other.reserve(10), one.reserve(40), one.reserve(30)], [True, True, False, True]
        )
        one.release(30)
        self.assertEqual(grown, [(60, 60), (10, 70), (30, 100)])
        self.assertEqual((one.size, other.size, budget.used, budget.rejected), (60, 10, 70, 1))
        one.close()
        self.assertEqual((one.reserve(1), one.size, budget.used, budget.rejected), (False, 0, 10, 1))


class Cycle:
    """A body in a reference cycle."""

    def __init__(self) -> None:
        self.body = bytes(10)
        self.itself = self


class CollectionTests(SynchronousTestCase):
    def test_by_bytes(self) -> None:
        """So many bytes are a collection; of the oldest objects too, once many bytes have survived others."""
        self.assertEqual((COLLECT_AFTER, FULL_COLLECT_AFTER, MIDDLE, OLDEST), (32 * MB, 64 * MB, 1, 2))
        pace = CollectionTrigger()
        self.assertEqual([pace.next_generation(size, 0) for size in (COLLECT_AFTER - 1, 1)], [None, MIDDLE])
        self.assertEqual([pace.next_generation(COLLECT_AFTER // 2, 0) for _ in range(4)], [None, MIDDLE, None, MIDDLE])
        self.assertEqual(
            [pace.next_generation(COLLECT_AFTER, 20 * MB) for _ in range(5)], [MIDDLE, MIDDLE, MIDDLE, OLDEST, MIDDLE]
        )

    def test_garbage_goes(self) -> None:
        """Few objects, many bytes: their cycle is collected, whatever Python's own thresholds say; not while somebody
        has turned the collector off."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.enable)
        gc.set_threshold(1_000_000)
        grown = make_garbage_collector(CollectionTrigger())
        gone = weakref.ref(Cycle())
        grown(COLLECT_AFTER - 1, 0)
        self.assertIsNotNone(gone())
        grown(1, 0)
        self.assertIsNone(gone())
        gone = weakref.ref(Cycle())
        gc.disable()
        grown(COLLECT_AFTER, 0)
        self.assertIsNotNone(gone())


class TrimTests(SynchronousTestCase):
    def looks(self, pace: TrimTrigger, *sizes: int, held: int = 0) -> list[bool]:
        return [pace.should_trim(size * MB, held * MB) for size in sizes]

    def test_after_growth(self) -> None:
        """Not for a little; where it gives nothing, again after growth, and else ever later: 64 checks at most."""
        self.assertEqual(MAX_BACKOFF, 64)
        pace = TrimTrigger()
        self.assertEqual(self.looks(pace, 90, 121, 122), [False, False, True])
        pace.record_trim(122 * MB, 122 * MB, 0)
        self.assertEqual(self.looks(pace, 122, 154), [False, True])
        for wait in (4, 8, 16, 32, MAX_BACKOFF, MAX_BACKOFF):
            pace.record_trim(154 * MB, 154 * MB, 0)
            self.assertEqual(self.looks(pace, *[154] * wait), [False] * (wait - 1) + [True])

    def test_after_a_peak(self) -> None:
        """What bodies held and hold no longer is asked for at the next look."""
        pace = TrimTrigger()
        self.looks(pace, 90)
        self.assertEqual(self.looks(pace, 400, held=300), [True])
        pace.record_trim(400 * MB, 400 * MB, 300 * MB)
        self.assertEqual(self.looks(pace, 400, held=290), [False])
        self.assertEqual(self.looks(pace, 400, held=10), [True])
        pace.record_trim(400 * MB, 95 * MB, 10 * MB)
        self.assertEqual(self.looks(pace, *[95] * 10), [False] * 10)

    def test_what_is_useful(self) -> None:
        """A trim that gives 8 MiB is useful: the next check may trim again. One that gives less is useless."""
        for gained, expected in ((8 * MB, [True]), (8 * MB - 1, [False, True])):
            pace = TrimTrigger()
            self.assertEqual(self.looks(pace, 90, 400), [False, True])
            pace.record_trim(400 * MB, 400 * MB - gained, 0)
            self.assertEqual(self.looks(pace, *[400] * len(expected)), expected)

    def test_what_is_enough(self) -> None:
        """32 MiB that bodies no longer hold are asked for at the next check, less is not."""
        for held, expected in ((32, True), (31, False)):
            pace = TrimTrigger()
            self.looks(pace, 90)
            pace.record_trim(400 * MB, 400 * MB, 0)
            pace.record_trim(400 * MB, 400 * MB, 0)
            self.assertEqual(self.looks(pace, 400, held=held), [False])
            self.assertEqual(self.looks(pace, 400), [expected])


class TrimmerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[tuple[int, int]]] = []
        self.resident = 90 * MB
        self.patch(gc_tuning, 'resident_size', lambda: self.resident)
        self.patch(gc_tuning, 'is_glibc', lambda: True)
        self.trimmer = MemoryTrimmer(self.clock, self.offload, MemoryBudget())
        self.trimmer.start()
        self.clock.advance(CHECK_INTERVAL)

    def offload(self, function: Callable[[], tuple[int, int]]) -> Deferred[tuple[int, int]]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_once_at_a_time(self) -> None:
        """In a thread, one at a time, until it is stopped."""
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.asked, [])
        self.resident = 500 * MB
        self.clock.pump([CHECK_INTERVAL] * 3)
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback((500 * MB, 490 * MB))
        self.clock.pump([CHECK_INTERVAL] * 3)
        self.assertEqual(len(self.asked), 2)
        self.trimmer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_where_it_cannot_be_done(self) -> None:
        """It is not tried again."""
        self.resident = 500 * MB
        self.clock.advance(CHECK_INTERVAL)
        self.asked[0].errback(AttributeError('malloc_trim'))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_for_real(self) -> None:
        """glibc has the function, and the kernel says what is resident."""
        self.patch(gc_tuning, 'resident_size', REAL_RESIDENT)
        before, after = gc_tuning.trim_malloc()
        self.assertGreater(min(before, after), MB)


REAL_RESIDENT = gc_tuning.resident_size
