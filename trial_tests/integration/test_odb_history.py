"""The history of changes, the configuration at any revision, and concurrent edits."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import gatherResults

from trial_tests.support.odb import ME, OdbCase, channel, delete, edit, on_every_database, per_engine, service, user
from zatotx.model.errors import BadInput, Conflict, NotFound
from zatotx.odb import revisions
from zatotx.odb.offline_operations import read_snapshot, restore_revision, write_operations
from zatotx.rules.security.password_verification import verify_password
from zatotx.schema.secrets import MASK, hash_of_dual_secret
from zatotx.schema.snapshot import Actor, Snapshot, StoredObject

HER = Actor('her', 'zato.http-soap.edit', 'f' * 24, '192.0.2.7')


class HistoryCase(OdbCase):
    async def snapshot(self) -> Snapshot:
        return Snapshot().apply_changes(await self.store.changes(0))

    async def named(self, type_: str, name: str) -> StoredObject:
        found = (await self.snapshot()).find(type_, name)
        assert found is not None, name
        return found


@on_every_database
class TwoAtOnceTests(HistoryCase):
    async def test_the_second_is_told_who_was_first(self) -> None:
        """The error says who changed what, when and from where; nothing of the second edit is stored."""
        await self.store.write([service('echo'), channel('a')], ME)
        seen = await self.named('channel_rest', 'a')
        await self.store.write([edit('channel_rest', seen.id, seen=seen.revision, timeout=61.0)], HER)
        late = self.store.write(
            [user('mine', ''), edit('channel_rest', seen.id, seen=seen.revision, url_path='/mine')], ME
        )
        error: Any = await self.assertFailure(late, Conflict)
        said = str(error)
        for part in ("'a'", f'revision {seen.revision + 1} now, not {seen.revision}', 'her changed channel_rest',
                     'timeout 60.0 -> 61.0', 'zato.http-soap.edit, 192.0.2.7', ' UTC'):  # fmt: skip
            self.assertIn(part, said)
        now = await self.snapshot()
        self.assertIsNone(now.find('basic_auth', 'mine'))
        self.assertEqual((await self.named('channel_rest', 'a')).value.url_path, '/a')
        again = await self.named('channel_rest', 'a')
        await self.store.write([edit('channel_rest', seen.id, seen=again.revision, url_path='/mine')], ME)

    async def test_who_deleted_it_is_told_too(self) -> None:
        """It is reported to later edits and deletions that carry a revision."""
        await self.store.write([user('a', '')], ME)
        seen = await self.named('basic_auth', 'a')
        await self.store.write([delete('basic_auth', seen.id, seen=seen.revision)], HER)
        for late in (delete('basic_auth', seen.id, seen=seen.revision), edit('basic_auth', seen.id, seen=1, realm='R')):
            error: Any = await self.assertFailure(self.store.write([late], ME), Conflict)
            self.assertIn("her deleted basic_auth 'a'", str(error))
        await self.assertFailure(self.store.write([delete('basic_auth', seen.id)], ME), NotFound)

    async def test_a_renaming_counts_for_those_who_refer_to_it(self) -> None:
        """A rename changes referring objects; secrets are masked in the error."""
        await self.store.write([service('echo'), user('api', 'old-sEcReT'), channel('a', security='api')], ME)
        seen, api = await self.named('channel_rest', 'a'), await self.named('basic_auth', 'api')
        await self.store.write([edit('basic_auth', api.id, name='api2', password='new-sEcReT')], HER)
        late = self.store.write([edit('channel_rest', seen.id, seen=seen.revision, timeout=1.0)], ME)
        error: Any = await self.assertFailure(late, Conflict)
        said = str(error)
        self.assertIn("her changed basic_auth 'api2'", said)
        self.assertIn(MASK, said)
        self.assertNotIn('sEcReT', said)

    @per_engine
    async def test_of_many_at_once_one_wins(self) -> None:
        """With two nodes, one edit per round is accepted, the others are rejected, and no update is lost."""
        other = self.open()
        await self.store.write([service('echo'), channel('a', timeout=1.0)], ME)
        for round_ in range(1, 6):
            seen = await self.named('channel_rest', 'a')
            self.assertEqual(seen.value.timeout, float(round_))
            tries = [
                store.write([edit('channel_rest', seen.id, seen=seen.revision, timeout=round_ + 1.0)], ME)
                for store in (self.store, other) * 3
            ]
            ends = await gatherResults([each.addErrback(lambda failure: failure.trap(Conflict)) for each in tries])
            self.assertEqual(sorted(end is Conflict for end in ends), [False] + [True] * 5)


@on_every_database
class StateTests(HistoryCase):
    async def filled(self) -> int:
        """Fill a cluster with a user, two channels and code; returns the revision."""
        await self.store.write(
            [service('echo'), user('api', 'first'), channel('a', security='api'), channel('b', timeout=5.0)], ME
        )
        return (await self.store.add_version('crm.py', 'module', b'1', ['crm.a'], ME)).revision

    async def changed(self) -> int:
        """Make all kinds of changes; returns the revision."""
        now = await self.snapshot()
        ids = {(o.type, o.name): o.id for o in now}
        await self.store.write([edit('basic_auth', ids['basic_auth', 'api'], name='api2', password='second')], HER)
        await self.store.write(
            [
                edit('channel_rest', ids['channel_rest', 'a'], security=None, url_path='/elsewhere'),
                delete('channel_rest', ids['channel_rest', 'b']),
                channel('c', security='api2'),
            ],
            HER,
        )
        await self.store.add_version('crm.py', 'module', b'2', ['crm.a', 'crm.b'], ME)
        return await self.store.revision()

    async def test_any_revision_can_be_seen(self) -> None:
        """With the names, secrets and references at that revision."""
        before = await self.filled()
        then = await self.snapshot()
        after = await self.changed()
        for revision, wanted in ((before, then), (after, await self.snapshot())):
            found = await self.store.snapshot_at(revision)
            self.assertEqual({o.id: (o.type, o.value) for o in found}, {o.id: (o.type, o.value) for o in wanted})
        first = await self.store.snapshot_at(before - 1)
        self.assertEqual(sorted(o.name for o in first), ['a', 'api', 'b', 'echo'])

    async def test_what_is_not_kept_is_said_with_what_is(self) -> None:
        """Future revisions, and those before the first, are rejected with the kept range."""
        now = await self.filled()
        for revision in (0, now + 1):
            error = await self.assertFailure(self.store.snapshot_at(revision), NotFound)
            self.assertIn(f'the kept ones are 1 to {now}', str(error))

    @per_engine
    async def test_a_revision_is_restored(self) -> None:
        """It becomes a new revision with its secrets; code, its services and the restoring user remain."""
        before = await self.filled()
        then = await self.snapshot()
        after = await self.changed()
        database = self.database()
        dry = restore_revision(database, before, HER, dry_run=True)
        self.assertEqual(await self.store.revision(), after)
        done = restore_revision(database, before, HER)
        self.assertEqual((done.lines, done.revision), (dry.lines, after + 1))
        now = await self.snapshot()
        for stored in then:
            if stored.type != 'service':
                found = now.find(stored.type, stored.name)
                assert found is not None, stored
                self.assertEqual(found.value, stored.value)
        self.assertIsNone(now.find('channel_rest', 'c'))
        api, was = now.find('basic_auth', 'api'), then.find('basic_auth', 'api')
        assert api is not None and was is not None
        self.assertEqual(api.id, was.id)
        self.assertTrue(verify_password(hash_of_dual_secret(api.value.password), 'first'))
        self.assertEqual((await self.store.versions('crm.py'))[-1].services, ('crm.a', 'crm.b'))
        self.assertIsNotNone(now.find('service', 'crm.b'))
        self.assertEqual({row.who for row in await self.store.history(revision=after + 1)}, {'her'})
        self.assertIn("- channel_rest 'c'", done.lines)
        self.assertNotIn('argon2', repr(done.lines))

    async def test_there_and_back(self) -> None:
        """Restoring the revision before a restore undoes it; without differences nothing is written."""
        before = await self.filled()
        after = await self.changed()
        database = self.database()
        restore_revision(database, before, ME)
        restore_revision(database, after, ME)
        wanted = {(o.type, o.name): o.value for o in await self.store.snapshot_at(after) if o.type != 'service'}
        now = {(o.type, o.name): o.value for o in await self.snapshot() if o.type != 'service'}
        self.assertEqual(now, wanted)
        revision = await self.store.revision()
        self.assertEqual(restore_revision(database, after, ME).revision, revision)

    async def test_a_restore_that_cannot_be_is_refused_whole(self) -> None:
        """It is all or nothing, like every change."""
        before = await self.filled()
        now = await self.snapshot()
        a = now.find('channel_rest', 'a')
        assert a is not None
        await self.store.write([edit('channel_rest', a.id, url_path='/free')], ME)
        self.sql('UPDATE object_version SET document = replace(document, :old, :new)', old='"/a"', new='"/b"')
        error = self.assertRaises(Conflict, restore_revision, self.database(), before, ME)
        self.assertIn('any /b', str(error))
        self.assertEqual(await self.store.revision(), before + 1)


@on_every_database
class FilterTests(HistoryCase):
    async def test_changes_are_found(self) -> None:
        """By type, present or former name, since a revision, at a revision, and with a limit."""
        await self.store.write([service('echo'), user('api', ''), channel('a')], ME)
        api = await self.named('basic_auth', 'api')
        await self.store.write([edit('basic_auth', api.id, name='api2')], HER)
        last = await self.store.write([edit('basic_auth', api.id, realm='R')], HER)
        await self.store.add_version('crm.py', 'module', b'1', ['crm.a'], ME)

        async def found(**which: Any) -> list[tuple[str, str]]:
            return [(row.action, row.name) for row in await self.store.history(**which)]

        edits = [('edit', 'api2'), ('edit', 'api2'), ('create', 'api')]
        self.assertEqual(await found(name='api'), edits)
        self.assertEqual(await found(name='api2'), edits)
        self.assertEqual(await found(name='API'), [])
        self.assertEqual(await found(name='api '), [])
        self.assertEqual(await found(type='file'), [('deploy', 'crm.py')])
        self.assertEqual(await found(since=last), [('deploy', 'crm.py'), ('create', 'crm.a')])
        self.assertEqual(await found(revision=last), [('edit', 'api2')])
        self.assertEqual(await found(limit=1), [('deploy', 'crm.py')])
        (row,) = await self.store.history(revision=last)
        (short,) = await self.store.history(revision=last, has_values=False)
        self.assertEqual((row.new['realm'], short), ('R', msgspec.structs.replace(row, old={}, new={})))


@on_every_database
class BoundTests(HistoryCase):
    @per_engine
    async def test_it_does_not_grow_for_ever(self) -> None:
        """The oldest revisions are removed completely; kept ones can be read and restored."""
        for name, value in (('MAX_HISTORY', 20), ('PRUNE_INTERVAL', 1)):
            self.patch(revisions, name, value)
        await self.store.write([service('echo'), user('stays', 'first'), user('goes', ''), channel('a')], ME)
        goes, a = await self.named('basic_auth', 'goes'), await self.named('channel_rest', 'a')
        await self.store.write([delete('basic_auth', goes.id)], ME)
        for number in range(1, 41):
            await self.store.write([edit('channel_rest', a.id, timeout=float(number))], ME)
        rows = await self.store.history(limit=1000)
        self.assertEqual(len(rows), 20)
        first = rows[-1].revision
        error: Any = await self.assertFailure(self.store.snapshot_at(first - 1), NotFound)
        self.assertIn(f'the kept ones are {first} to', str(error))
        for revision in (first, first + 7):
            state = await self.store.snapshot_at(revision)
            self.assertEqual({o.name for o in state}, {'echo', 'stays', 'a'})
            found = state.find('channel_rest', 'a')
            assert found is not None
            self.assertEqual(found.value.timeout, float(revision - 3))
        states_kept = self.sql('SELECT name, revision FROM object_version WHERE revision <= :first', first=first)
        self.assertEqual(sorted(name for name, _ in states_kept), ['a', 'echo', 'stays'])

    async def test_one_big_change_is_kept_whole(self) -> None:
        """A single change may exceed the limit."""
        for name, value in (('MAX_HISTORY', 20), ('PRUNE_INTERVAL', 1)):
            self.patch(revisions, name, value)
        await self.store.write([service('echo')], ME)
        revision = await self.store.write([channel(f'c{n}') for n in range(50)], ME)
        self.assertEqual(len(await self.store.history(limit=1000, revision=revision)), 50)
        self.assertEqual(len(await self.store.snapshot_at(revision)), 51)


@on_every_database
class TextTests(HistoryCase):
    @per_engine
    async def test_any_text_comes_back(self) -> None:
        """Emoji, combining marks, quotes, backslashes, spaces at the ends; such names are distinguished."""
        names = [*'éÉaA😀😁ß', 'e\u0301', 'a ', ' a', "o'x", 'o"x', 'o\\x', 'o%sx', 'o:x', 'ss', '\u200b']
        await self.store.write([user(name, '', realm=name) for name in names], ME)
        now = await self.snapshot()
        self.assertEqual(sorted(o.name for o in now), sorted(names))
        self.assertEqual(sorted(o.value.realm for o in now), sorted(names))
        for name in names:
            self.assertEqual([row.name for row in await self.store.history(name=name)], [name])

    async def test_a_name_with_a_zero_character_is_refused(self) -> None:
        """On every database, because PostgreSQL cannot store it."""
        error = await self.assertFailure(self.store.write([service('a\x00b')], ME), BadInput)
        self.assertIn('U+0000', str(error))

    @per_engine
    def test_documents_of_sixteen_megabytes(self) -> None:
        """They are stored, found, and kept as states."""
        big = 'ü' * (8 * 1024 * 1024)
        database = self.database()
        write_operations(database, [service('big', impl_name=big)], ME)
        stored = read_snapshot(database).find('service', 'big')
        assert stored is not None
        self.assertTrue(stored.value.impl_name == big)
