"""Tests of the restore of an earlier configuration: which objects it changes, and how."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.odb import TYPES
from zatotx.plugins.http.schema import RestChannel
from zatotx.rules.enmasse.restore_plan import (
    RestoreStep,
    describe_restore_step,
    plan_restore,
    restore_steps_to_operations,
)
from zatotx.schema.service_config import ServiceConfig
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.security.basic_auth import BasicAuth


def user(number: int, name: str, username: str = 'u', revision: int = 1) -> StoredObject:
    return StoredObject(number, 'basic_auth', BasicAuth(name=name, username=username), revision)


def service(number: int, name: str = 's', **fields: Any) -> StoredObject:
    return StoredObject(number, 'service', ServiceConfig(name=name, **fields), 5)


def plan(now: list[StoredObject], then: list[StoredObject]) -> list[RestoreStep]:
    return plan_restore(Snapshot(2, now), Snapshot(1, then), TYPES)


class RestoreTests(SynchronousTestCase):
    def test_changes(self) -> None:
        """A changed object is edited, with the fields that differ; one that is new is deleted, one that is gone is
        created. Objects that are the same are left alone."""
        now = [user(1, 'a', 'new', 7), user(2, 'b', revision=8), user(4, 'same')]
        then = [user(1, 'a', 'old'), user(3, 'c'), user(4, 'same')]
        steps = plan(now, then)
        self.assertEqual(restore_steps_to_operations(steps), [
            Operation(action='edit', type='basic_auth', name='a', id=1, fields={'username': 'old'}, revision=7),
            Operation(action='delete', type='basic_auth', name='b', id=2, revision=8),
            Operation(action='create', type='basic_auth', name='c', fields=msgspec.structs.asdict(then[1].value)),
        ])  # fmt: skip
        self.assertEqual([describe_restore_step(step, TYPES) for step in steps], [
            ["~ security 'a': username: 'new' → 'old'"], ["- security 'b'"], ["+ security 'c'", "    username: 'u'"],
        ])  # fmt: skip
        self.assertEqual([step.type for step in steps], ['basic_auth'] * 3)

    def test_a_name_that_was_given_again(self) -> None:
        """An object that was deleted and created again is edited; one that was renamed gets its name back."""
        self.assertEqual(restore_steps_to_operations(plan([user(9, 'a', 'new', 3)], [user(1, 'a', 'old')])), [
            Operation(action='edit', type='basic_auth', name='a', id=9, fields={'username': 'old'}, revision=3)])
        self.assertEqual(restore_steps_to_operations(plan([user(1, 'b')], [user(1, 'a')])), [
            Operation(action='edit', type='basic_auth', name='a', id=1, fields={'name': 'a'}, revision=1)])
        self.assertEqual(plan([user(9, 'a')], [user(1, 'a')]), [])
        swapped = plan([user(1, 'b'), user(9, 'a')], [user(1, 'a')])
        self.assertEqual([step.action for step in restore_steps_to_operations(swapped)], ['edit', 'delete'])

    def test_order(self) -> None:
        """Steps are sorted by type and name, of the earlier version where there is one."""
        channel = StoredObject(5, 'channel_rest', RestChannel(name='z', url_path='/z', service='s'), 1)
        steps = plan([user(1, 'x'), user(2, 'b')], [user(1, 'c'), channel, user(3, 'a')])
        self.assertEqual([(step.type, step.name) for step in restore_steps_to_operations(steps)], [
            ('basic_auth', 'a'), ('basic_auth', 'b'), ('basic_auth', 'c'), ('channel_rest', 'z')])

    def test_what_the_broker_creates(self) -> None:
        """Definitions that every cluster has, and types that are not installed, are not touched."""
        self.assertEqual(plan([user(1, 'pubapi')], [user(1, 'pubapi', 'old')]), [])
        self.assertEqual(plan([], [user(1, 'admin.invoke')]), [])
        self.assertEqual(plan([user(1, 'pubapi')], [user(1, 'a')]), [])
        odd = StoredObject(1, 'odd', BasicAuth(name='x', username='u'), 1)
        self.assertEqual(plan([odd], []), [])

    def test_services(self) -> None:
        """What deployments maintain stays as it is; a service that was not there is not deleted, since its code is
        deployed. One that is gone is created without code, unless it is internal."""
        now = service(1, impl_name='new', file='new.py', slow_threshold=5)
        then = service(1, impl_name='old', file='old.py', is_internal=True, slow_threshold=9)
        (step,) = plan([now], [then])
        self.assertEqual(restore_steps_to_operations([step])[0].fields, {'slow_threshold': 9})
        self.assertEqual(describe_restore_step(step, TYPES), ["~ service 's': slow_threshold: 5 → 9"])
        self.assertEqual(plan([now], [service(1, slow_threshold=5)]), [])
        self.assertEqual(plan([now], []), [])
        self.assertEqual(plan([], [then]), [])
        (gone,) = restore_steps_to_operations(plan([], [service(1, file='old.py', slow_threshold=9)]))
        self.assertEqual((gone.action, gone.fields['file'], gone.fields['slow_threshold']), ('create', '', 9))
