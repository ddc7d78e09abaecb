"""Migrations from every released schema to the present one, on tables with data, with interruptions."""

from __future__ import annotations

from twisted.internet.threads import deferToThread

from trial_tests.support import odb_0001
from trial_tests.support.odb import KEY, ME, OdbCase, edit, on_every_database
from trial_tests.support.odb_process import Forked
from zatotx.interfaces.config import IConfigStore
from zatotx.odb.engine_factory import dialect_of
from zatotx.odb.offline_operations import inspect_schema_state, restore_revision, upgrade_odb
from zatotx.rules.security.password_verification import verify_password
from zatotx.schema.secrets import hash_of_dual_secret
from zatotx.schema.snapshot import Snapshot


class UpgradeCase(OdbCase):
    """A filled ODB of the first schema."""

    def setUp(self) -> None:
        self.url = self.make_url()
        odb_0001.make(self.url)

    def begin(self, step: int) -> Forked:
        """Upgrade in a process of its own, which stops before that statement (0: before none)."""
        process = Forked('upgrade_until', self.url, KEY, str(step))
        self.addCleanup(process.close)
        return process

    async def all_is_there(self) -> None:
        """Everything in the tables was migrated."""
        self.assertEqual(inspect_schema_state(self.url), 'current')
        store: IConfigStore = self.open()
        service, user, channel = odb_0001.NAMES
        now = Snapshot().apply_changes(await store.changes(0))
        found = now.find('channel_rest', channel)
        login = now.find('basic_auth', user)
        assert found is not None and login is not None
        self.assertEqual((found.id, found.revision, found.value.url_path), (3, 4, '/a'))
        self.assertEqual((found.value.service, found.value.security), (service, user))
        self.assertTrue(verify_password(hash_of_dual_secret(login.value.password), 'sesame'))
        self.assertEqual((await store.changes(5)).deleted, (4,))
        self.assertEqual([(n.name, n.worker, n.bind_port) for n in await store.nodes()],
                         [('server1', 0, 17010), ('server2', 0, 17011)])  # fmt: skip
        self.assertEqual(await store.version_results(1), {'server1': '', 'server2': ''})
        self.assertEqual(await store.version_content(1), b'\x00\xffcode')
        (old,) = await store.history()
        self.assertEqual((old.who, old.source, old.address, old.name), ('me', '192.0.2.1', '', 'gone'))
        await self.it_works_on(store, found.id)

    async def it_works_on(self, store: IConfigStore, channel_id: int) -> None:
        """Workers and restorable revisions work from this revision on."""
        first = await store.register_node('server1', '127.0.0.1', 17010, 1)
        second = await store.register_node('server1', '127.0.0.1', 17010, 2, 1)
        self.assertEqual((first.id, second.worker), (1, 1))
        revision = await store.write([edit('channel_rest', channel_id, url_path='/b')], ME)
        self.assertEqual(revision, odb_0001.REVISION + 1)
        self.assertEqual(len(await store.snapshot_at(odb_0001.REVISION)), 3)
        restore_revision(self.database(), odb_0001.REVISION, ME)
        again = Snapshot().apply_changes(await store.changes(0)).get(channel_id)
        assert again is not None
        self.assertEqual(again.value.url_path, '/a')


@on_every_database
class UpgradeTests(UpgradeCase):
    async def test_from_the_first(self) -> None:
        """All data is migrated; a second upgrade does nothing."""
        self.assertEqual(inspect_schema_state(self.url), 'older')
        self.assertTrue(upgrade_odb(self.url))
        self.assertFalse(upgrade_odb(self.url))
        await self.all_is_there()

    async def test_killed_and_begun_again(self) -> None:
        """After a kill at any point, the next upgrade completes: from the start with transactional DDL, elsewhere from
        the interrupted step."""
        at = (2, 5) if dialect_of(self.url).transactional_ddl else (4,) * 20
        killed = 0
        for step in at:
            process = self.begin(step)
            if await deferToThread(process.word) == 'done':
                break
            process.kill()
            await deferToThread(process.wait)
            killed += 1
            self.assertEqual(inspect_schema_state(self.url), 'older')
        self.assertGreater(killed, 1)
        upgrade_odb(self.url)
        await self.all_is_there()

    async def test_two_at_once(self) -> None:
        """One does it, the other finds it done."""
        processes = [self.begin(0) for _ in range(2)]
        words = [await deferToThread(process.word) for process in processes]
        self.assertEqual(sorted(words), ['done', 'nothing to do'])
        await self.all_is_there()


