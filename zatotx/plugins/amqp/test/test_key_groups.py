"""Groups of messages that are processed in order."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.amqp.key_groups import KeyGroups


class KeyGroupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.groups, self.begun = KeyGroups(), list[str]()

    def enter(self, *names: str) -> None:
        for name in names:
            self.groups.enter(name[0], partial(self.begun.append, name))

    def test_order(self) -> None:
        """One message of each group at a time, in the order in which they came; an empty group is forgotten."""
        self.enter('a1', 'a2', 'b1', 'a3')
        self.assertEqual(self.begun, ['a1', 'b1'])
        self.groups.leave('a')
        self.groups.leave('a')
        self.assertEqual(self.begun, ['a1', 'b1', 'a2', 'a3'])
        self.groups.leave('a')
        self.groups.leave('b')
        self.assertEqual(len(self.groups), 0)

    def test_clear(self) -> None:
        """Messages that wait when the connection is lost do not begin, and those in progress may still leave."""
        self.enter('a1', 'a2')
        self.groups.clear()
        self.groups.leave('a')
        self.assertEqual(self.begun, ['a1'])
        self.enter('a3')
        self.assertEqual(self.begun, ['a1', 'a3'])
