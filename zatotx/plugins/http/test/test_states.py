"""The states of connections and calls, and the check of their transitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.client.client_connection import NEXT_STATES as NEXT_CLIENT_STATES
from zatotx.plugins.http.client.pending_call import NEXT_STAGES
from zatotx.plugins.http.server.connection import NEXT_STATES as NEXT_SERVER_STATES
from zatotx.plugins.http.server.request_reader import NEXT_PHASES, ReaderPhase, RequestReader

TABLES: list[Mapping[Enum, Collection[Enum]]] = [
    dict(table) for table in (NEXT_SERVER_STATES, NEXT_PHASES, NEXT_CLIENT_STATES, NEXT_STAGES)  # type: ignore[arg-type]
]


class TableTests(SynchronousTestCase):
    def test_every_state_is_listed(self) -> None:
        """Each table lists all states of its enumeration, in their order."""
        for table in TABLES:
            (kind,) = {type(state) for state in table}
            self.assertEqual(list(table), list(kind))

    def test_one_end(self) -> None:
        """Each table has one last state, and every other state leads to it, as a connection can be lost at any time."""
        for table in TABLES:
            (last,) = (state for state, following in table.items() if not following)
            for state in table:
                self.assertTrue(state is last or self.leads_to(table, state, last), state)

    def test_every_state_is_reached(self) -> None:
        """Every state but the first follows another one."""
        for table in TABLES:
            _, *others = table
            self.assertLessEqual(set(others), {state for following in table.values() for state in following})

    def leads_to(self, table: Mapping[Enum, Collection[Enum]], state: Enum, last: Enum) -> bool:
        seen: set[Enum] = set()
        following = {state}
        while following:
            seen |= following
            following = {after for one in following for after in table[one]} - seen
        return last in seen


class CheckTests(SynchronousTestCase):
    def test_a_transition_that_is_not_listed(self) -> None:
        """The other tests fail if a connection makes a transition that its table does not list."""
        reader = RequestReader.__new__(RequestReader)
        reader.phase = ReaderPhase.HEAD
        reader.phase = ReaderPhase.INPUT_CLOSED
        with self.assertRaisesRegex(AssertionError, 'RequestReader went from ReaderPhase.INPUT_CLOSED to .*HEAD'):
            reader.phase = ReaderPhase.HEAD
        self.assertIs(reader.phase, ReaderPhase.INPUT_CLOSED)
        self.assertEqual(len(self.flushLoggedErrors(AssertionError)), 1)
