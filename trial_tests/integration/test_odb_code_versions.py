"""Deployed files, and the servers that run them, in the ODB."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from trial_tests.support.odb import ME, OdbCase, channel, edit, on_every_database, per_engine, service
from zatotx.interfaces.config import FileVersion
from zatotx.model.errors import Conflict, NotFound
from zatotx.odb import code_versions
from zatotx.schema.snapshot import Snapshot


class VersionCase(OdbCase):
    def deploy(self, file: str, content: bytes, *services: str) -> Deferred[FileVersion]:
        deployed: Deferred[FileVersion] = self.store.add_version(file, 'module', content, services, ME)
        return deployed

    async def files(self) -> dict[str, str]:
        """Return service -> the file in its row."""
        snapshot = Snapshot().apply_changes(await self.store.changes(0))
        return {o.name: o.value.file for o in snapshot.objects_of_types('service')}

    async def kept(self, file: str) -> Sequence[tuple[int, bool]]:
        return [(v.number, v.active) for v in await self.store.versions(file)]


@on_every_database
class AddTests(VersionCase):
    async def test_a_new_version_is_the_active_one(self) -> None:
        """It records its content, author, time and revision."""
        before, started = await self.store.revision(), time.time()
        version = await self.deploy('crm.py', b'code', 'crm.b', 'crm.a')
        self.assertEqual((version.file, version.number, version.form, version.active), ('crm.py', 1, 'module', True))
        self.assertEqual((version.services, version.by, version.revision), (('crm.a', 'crm.b'), 'me', before + 1))
        self.assertTrue(started <= version.created <= time.time())
        self.assertEqual(await self.store.revision(), before + 1)
        self.assertEqual(await self.store.version_content(version.id), b'code')
        self.assertEqual(await self.store.versions(), [version])
        self.assertEqual(await self.kept('crm.py'), [(1, True)])
        await self.deploy('crm.py', b'better code', 'crm.a')
        self.assertEqual(await self.kept('crm.py'), [(1, False), (2, True)])

    async def test_the_same_content_adds_nothing(self) -> None:
        """The active version is returned, and the revision stays."""
        first = await self.deploy('crm.py', b'code', 'crm.a')
        before = await self.store.revision()
        self.assertEqual(await self.deploy('crm.py', b'code', 'crm.a'), first)
        self.assertEqual(await self.store.revision(), before)
        await self.deploy('crm.py', b'other', 'crm.a')
        again = await self.deploy('crm.py', b'code', 'crm.a')
        self.assertEqual((again.number, again.sha256), (3, first.sha256))

    @per_engine
    async def test_any_bytes_come_back(self) -> None:
        """A package is a zip."""
        content = bytes(range(256)) * 5000
        version = await self.store.add_version('pkg', 'package', content, ['pkg.a'], ME)
        self.assertEqual((await self.store.version_content(version.id), version.form), (content, 'package'))
        await self.assertFailure(self.store.version_content(version.id + 1), NotFound)
        self.assertEqual(await self.store.version_contents([version.id, version.id + 1]), {version.id: content})
        self.assertEqual(await self.store.version_contents([]), {})

    @per_engine
    async def test_twenty_versions_are_kept(self) -> None:
        """The oldest are removed with their verdicts, never the active one; other files are not affected."""
        node = await self.store.register_node('server1', '', 0, 1)
        await self.deploy('other.py', b'0', 'other')
        first = await self.deploy('crm.py', b'0', 'crm.a')
        await self.store.record_heartbeat(node.id, 1, {first.id: 'refused'})
        for number in range(1, 20):
            await self.deploy('crm.py', b'%d' % number, 'crm.a')
        self.assertEqual(len(await self.store.versions('crm.py')), code_versions.MAX_VERSIONS)
        await self.deploy('crm.py', b'20', 'crm.a')
        self.assertEqual([n for n, _ in await self.kept('crm.py')], list(range(2, 22)))
        await self.assertFailure(self.store.version_content(first.id), NotFound)
        self.assertEqual(await self.store.version_results(first.id), {})
        self.assertEqual(len(await self.store.versions('other.py')), 1)
        await self.store.activate_version('crm.py', 2, ME)
        await self.deploy('crm.py', b'21', 'crm.a')
        self.assertEqual([n for n, _ in await self.kept('crm.py')], list(range(3, 23)))

    async def test_history_tells_of_it(self) -> None:
        """The history records the previous and the new version."""
        await self.deploy('crm.py', b'1', 'crm.a')
        await self.deploy('crm.py', b'2', 'crm.a')
        row = (await self.store.history(limit=1))[0]
        self.assertEqual((row.action, row.type, row.name), ('deploy', 'file', 'crm.py'))
        self.assertEqual((row.old['number'], row.new['number']), (1, 2))


class RollbackTests(VersionCase):
    async def test_to_the_one_before_and_to_any(self) -> None:
        """Rollbacks can be repeated; activating the active version changes nothing."""
        for content in (b'1', b'2', b'3'):
            await self.deploy('crm.py', content, 'crm.a')
        before = await self.store.revision()
        back = await self.store.activate_version('crm.py', None, ME)
        self.assertEqual((back.number, back.active, back.revision), (2, True, before + 1))
        self.assertEqual((await self.store.activate_version('crm.py', None, ME)).number, 1)
        self.assertEqual((await self.store.activate_version('crm.py', 3, ME)).number, 3)
        self.assertEqual(await self.kept('crm.py'), [(1, False), (2, False), (3, True)])
        revision = await self.store.revision()
        await self.store.activate_version('crm.py', 3, ME)
        self.assertEqual(await self.store.revision(), revision)

    async def test_what_there_is_not_is_told_with_what_there_is(self) -> None:
        """An unknown file or number, or nothing before the first: the error lists the kept versions."""
        await self.deploy('crm.py', b'1', 'crm.a')
        wrong = (('no.py', None, 'never deployed'), ('crm.py', 7, 'kept: 1'), ('crm.py', None, 'kept: 1'))
        for file, number, part in wrong:
            error = await self.assertFailure(self.store.activate_version(file, number, ME), NotFound)
            self.assertIn(part, str(error))

    async def test_services_follow(self) -> None:
        """The services are those of the version that is active now."""
        await self.deploy('crm.py', b'1', 'crm.a', 'crm.old')
        await self.deploy('crm.py', b'2', 'crm.a', 'crm.new')
        self.assertEqual(await self.files(), {'crm.a': 'crm.py', 'crm.new': 'crm.py', 'crm.old': ''})
        await self.store.activate_version('crm.py', 1, ME)
        self.assertEqual(await self.files(), {'crm.a': 'crm.py', 'crm.new': '', 'crm.old': 'crm.py'})


class OwnershipTests(VersionCase):
    async def test_a_service_belongs_to_one_file(self) -> None:
        """Another file with the service is rejected completely."""
        await self.deploy('crm.py', b'1', 'crm.a', 'crm.b')
        before = await self.store.revision()
        error = await self.assertFailure(self.deploy('other.py', b'1', 'other', 'crm.a', 'crm.b'), Conflict)
        self.assertIn("service 'crm.a' belongs to the deployed file 'crm.py'", str(error))
        self.assertIn("'crm.b'", str(error))
        self.assertEqual((await self.store.revision(), await self.store.versions('other.py')), (before, []))

    async def test_a_service_that_its_file_gave_up_is_free(self) -> None:
        """Its row and references remain; the first file does not get it back by a rollback."""
        await self.deploy('crm.py', b'1', 'crm.a', 'echo')
        await self.store.write([channel('c')], ME)
        await self.deploy('crm.py', b'2', 'crm.a')
        await self.deploy('other.py', b'1', 'echo')
        self.assertEqual((await self.files())['echo'], 'other.py')
        error = await self.assertFailure(self.store.activate_version('crm.py', 1, ME), Conflict)
        self.assertIn("service 'echo' belongs to the deployed file 'other.py'", str(error))

    async def test_a_row_alone_owns_nothing(self) -> None:
        """A row that names a file without the service, or none, is taken over with its settings."""
        await self.store.write([service('a', file='gone.py', slow_threshold=5), service('b')], ME)
        await self.deploy('crm.py', b'1', 'a', 'b')
        self.assertEqual(await self.files(), {'a': 'crm.py', 'b': 'crm.py'})
        row = Snapshot().apply_changes(await self.store.changes(0)).find('service', 'a')
        assert row is not None
        self.assertEqual(row.value.slow_threshold, 5)

    async def test_the_brokers_own_are_never_taken(self) -> None:
        """zato.* services belong to no file."""
        await self.store.write([service('zato.ping', is_internal=True)], ME)
        error = await self.assertFailure(self.deploy('crm.py', b'1', 'zato.ping'), Conflict)
        self.assertIn("one of the broker's own", str(error))

    async def test_a_switched_off_service_stays_so(self) -> None:
        """A deployment does not change its settings."""
        await self.deploy('crm.py', b'1', 'crm.a')
        row = Snapshot().apply_changes(await self.store.changes(0)).find('service', 'crm.a')
        assert row is not None
        await self.store.write([edit('service', row.id, is_active=False)], ME)
        await self.deploy('crm.py', b'2', 'crm.a')
        row = Snapshot().apply_changes(await self.store.changes(0)).find('service', 'crm.a')
        assert row is not None
        self.assertFalse(row.value.is_active)


@on_every_database
class NodeTests(VersionCase):
    @per_engine
    async def test_a_server_registers_and_beats(self) -> None:
        """One row per name, with its present address and process; a heartbeat returns the revision without incrementing
        it."""
        before = await self.store.revision()
        first = await self.store.register_node('server1', '127.0.0.1', 17010, 100)
        again = await self.store.register_node('server1', '127.0.0.1', 17011, 101)
        other = await self.store.register_node('server2', '::1', 17012, 102)
        self.assertEqual((first.id, again.bind_port, again.pid), (again.id, 17011, 101))
        started = time.time()
        self.assertEqual(await self.store.record_heartbeat(first.id, 7, {}), before)
        found = await self.store.nodes()
        self.assertEqual([(n.name, n.up_status, n.applied_revision) for n in found],
                         [('server1', 'running', 7), ('server2', 'running', 0)])  # fmt: skip
        self.assertGreaterEqual(found[0].seen_at, started)
        await self.store.mark_node_stopped(other.id)
        self.assertEqual((await self.store.nodes())[1].up_status, 'clean-down')

    async def test_a_beat_of_nobody_is_not_found(self) -> None:
        """The heartbeat of a removed server fails."""
        await self.assertFailure(self.store.record_heartbeat(99, 1, {}), NotFound)

    async def test_a_server_that_is_gone_can_be_forgotten(self) -> None:
        """It is removed with its verdicts; running and unknown servers are not."""
        node = await self.store.register_node('server1', '', 0, 1)
        version = await self.deploy('crm.py', b'1', 'crm.a')
        await self.store.record_heartbeat(node.id, 1, {version.id: ''})
        removing: Deferred[Any] = self.store.remove_node(node.id)
        error = await self.assertFailure(removing, Conflict)
        self.assertIn("'server1' is running", str(error))
        await self.store.mark_node_stopped(node.id)
        await self.store.remove_node(node.id)
        self.assertEqual((await self.store.nodes(), await self.store.version_results(version.id)), ([], {}))
        await self.assertFailure(self.store.remove_node(node.id), NotFound)

    async def test_verdicts_are_told_by_server(self) -> None:
        """The last one of each server counts; those of versions no longer kept are dropped."""
        one = await self.store.register_node('server1', '', 0, 1)
        two = await self.store.register_node('server2', '', 0, 2)
        version = await self.deploy('crm.py', b'1', 'crm.a')
        await self.store.record_heartbeat(one.id, 1, {version.id: '', 999: 'nobody cares'})
        await self.store.record_heartbeat(two.id, 1, {version.id: 'crm.py:1: no module called x'})
        self.assertEqual(
            await self.store.version_results(version.id),
            {'server1': '', 'server2': 'crm.py:1: no module called x'},
        )
        await self.store.record_heartbeat(two.id, 1, {version.id: ''})
        await self.store.record_heartbeat(two.id, 1, {version.id: ''})
        self.assertEqual(await self.store.version_results(version.id), {'server1': '', 'server2': ''})


@on_every_database
class WorkerTests(OdbCase):
    @per_engine
    async def test_workers_of_a_server_have_a_row_each(self) -> None:
        """Workers share a name; a restart reuses the rows; removing the server removes all."""
        first, second, again = [
            await self.store.register_node('server1', '127.0.0.1', 17010, pid, worker)
            for pid, worker in ((1, 0), (2, 1), (3, 1))
        ]
        self.assertNotEqual(first.id, second.id)
        self.assertEqual((again.id, again.pid, again.worker), (second.id, 3, 1))
        self.assertEqual([(n.name, n.worker) for n in await self.store.nodes()], [('server1', 0), ('server1', 1)])
        await self.store.mark_node_stopped(first.id)
        await self.assertFailure(self.store.remove_node(first.id), Conflict)
        await self.store.mark_node_stopped(second.id)
        await self.store.remove_node(first.id)
        self.assertEqual(await self.store.nodes(), [])

    async def test_a_server_has_said_when_all_its_workers_have(self) -> None:
        """One rejection is the server's; a stopped worker does not count."""
        workers = [await self.store.register_node('server1', '', 0, 10 + n, n) for n in range(2)]
        version = await self.store.add_version('crm.py', 'module', b'1', ['crm.a'], ME)
        await self.store.record_heartbeat(workers[0].id, 1, {version.id: ''})
        self.assertEqual(await self.store.version_results(version.id), {})
        await self.store.record_heartbeat(workers[1].id, 1, {version.id: 'crm.py:1: no'})
        self.assertEqual(await self.store.version_results(version.id), {'server1': 'crm.py:1: no'})
        await self.store.record_heartbeat(workers[1].id, 1, {version.id: ''})
        self.assertEqual(await self.store.version_results(version.id), {'server1': ''})
        late = await self.store.register_node('server1', '', 0, 12, 2)
        self.assertEqual(await self.store.version_results(version.id), {})
        await self.store.mark_node_stopped(late.id)
        self.assertEqual(await self.store.version_results(version.id), {'server1': ''})


@on_every_database
class EpochTests(OdbCase):
    async def test_epochs_only_grow(self) -> None:
        """Each number is returned once, also to concurrent callers; names are distinguished exactly."""
        other = self.open()
        asked = [store.next_epoch('scheduler') for _ in range(10) for store in (self.store, other)]
        given = [await each for each in asked]
        self.assertEqual(sorted(given), list(range(1, 21)))
        self.assertEqual(given[::2], sorted(given[::2]))
        self.assertEqual(await self.store.next_epoch('Scheduler'), 1)
        self.assertEqual(await self.open().next_epoch('scheduler'), 21)
