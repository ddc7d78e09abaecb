"""The table of the current services."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from zatotx.service.deployment.service_checks import CheckedVersion
from zatotx.service.service import Service
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.service_store import ServiceStore
from zatotx.testing.pipeline_doubles import CallCountingStats


def entry(name: str) -> ServiceEntry:
    """The entry of a service of that name."""

    class Named(Service):
        async def handle(self) -> None:
            """Do nothing."""

    return ServiceEntry.for_class(Named, name=name)


def version(*entries: ServiceEntry, number: int = 1) -> CheckedVersion:
    """A version of a file with these services."""
    return CheckedVersion(cast('Any', SimpleNamespace()), {one.name: one for one in entries}, number)


class ServiceStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = ServiceStore((entry('zato.one'),), lambda name: CallCountingStats(),
                                  make_sampler=lambda *declared: declared)  # fmt: skip
        self.kept, self.replaced = version(entry('kept')), version(entry('replaced'))
        self.store.replace_files({'kept.py': self.kept, 'replaced.py': self.replaced})

    def current(self) -> dict[str, ServiceEntry]:
        return {one.name: one for one in self.store.current}

    def assert_changed(self, before: dict[str, ServiceEntry], *names: str) -> None:
        """Only the entries of these services are new."""
        now = self.current()
        self.assertEqual(sorted(name for name in now if now[name] is not before.get(name)), sorted(names))

    def test_a_deployment_keeps_the_entries_of_other_services(self) -> None:
        """Only the services of a file that was replaced get new entries, with the number of its version."""
        before = self.current()
        new = version(entry('replaced'), entry('added'), number=2)
        self.store.replace_files({'kept.py': self.kept, 'replaced.py': new})
        self.assert_changed(before, 'added', 'replaced')
        now = self.current()
        self.assertEqual([now[name].version for name in ('kept', 'replaced', 'zato.one')], [1, 2, 0])
        self.assertIs(now['replaced'].cls, new.services['replaced'].cls)
        self.assertIs(now['replaced'].stats, before['replaced'].stats)

    def test_another_number_of_the_same_version(self) -> None:
        """An older version that is active again has its own number."""
        self.kept.number = 3
        self.store.replace_files({'kept.py': self.kept})
        self.assertEqual([(one.name, one.version) for one in self.store.current], [('kept', 3), ('zato.one', 0)])

    def test_settings_change_the_entries_of_their_services(self) -> None:
        """Each setting of a service takes effect, and is revoked, and the entries of other services are kept."""
        for change, revoke, attribute, value in (
            (lambda: self.store.set_inactive(frozenset({'kept'})), lambda: self.store.set_inactive(frozenset()),
             'is_active', False),
            (lambda: self.store.set_required_roles({'kept': ('clerk',)}), lambda: self.store.set_required_roles({}),
             'roles', {'admin', 'clerk'}),
            (lambda: self.store.set_sampling({'kept': (10, 2)}), lambda: self.store.set_sampling({}),
             'sampler', ('kept', 10, 2)),
        ):  # fmt: skip
            before = self.current()
            change()
            self.assert_changed(before, 'kept')
            self.assertEqual(getattr(self.current()['kept'], attribute), value)
            revoke()
            self.assertEqual(getattr(self.current()['kept'], attribute), getattr(before['kept'], attribute))
