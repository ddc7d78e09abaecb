"""IConfigStore on real SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from sqlalchemy import text
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from trial_tests.support.odb import (
    CLUSTER,
    KEY,
    ME,
    TYPES,
    OdbCase,
    channel,
    delete,
    edit,
    on_every_database,
    per_engine,
    service,
    user,
)
from trial_tests.support.reactor import reactor
from zatotx.interfaces.config import IConfigStore
from zatotx.model.errors import BadInput, Conflict, NotFound, ServiceUnavailable
from zatotx.odb.config_store import open_store
from zatotx.odb.database_executor import CancellableCall
from zatotx.odb.engine_factory import make_engine
from zatotx.odb.secrets import Secrets, hash_secret, is_argon2id_hash, new_key
from zatotx.rules.security.password_verification import verify_password
from zatotx.schema.meta import ObjectType, field
from zatotx.schema.secrets import ConfigObject, combine_dual_secret, encrypted_part_of_dual_secret, hash_of_dual_secret
from zatotx.schema.snapshot import ChangeSet, Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry

MANY = 10_000


class StoreCase(OdbCase):
    async def snapshot(self) -> Snapshot:
        return Snapshot().apply_changes(await self.store.changes(0))

    async def named(self, type_: str, name: str) -> StoredObject:
        found = (await self.snapshot()).find(type_, name)
        assert found is not None, name
        return found


@on_every_database
class WriteTests(StoreCase):
    async def test_the_store_is_what_it_promises(self) -> None:
        """The store provides IConfigStore."""
        self.assertTrue(verifyObject(IConfigStore, self.store))

    async def test_every_write_raises_the_revision(self) -> None:
        """By one, and returns it."""
        before = await self.store.revision()
        self.assertEqual(await self.store.write([service('echo'), user('api')], ME), before + 1)
        self.assertEqual(await self.store.revision(), before + 1)
        self.assertEqual(await self.store.write([channel('a', security='api')], ME), before + 2)

    @per_engine
    async def test_objects_come_back_as_their_structs(self) -> None:
        """With references as names, and defaults."""
        await self.store.write([service('echo'), user('api'), channel('a', security='api', timeout=5.0)], ME)
        found = await self.named('channel_rest', 'a')
        self.assertEqual((found.value.service, found.value.security), ('echo', 'api'))
        self.assertEqual((found.value.timeout, found.value.method, found.revision), (5.0, None, 2))

    async def test_one_write_may_refer_to_what_it_makes(self) -> None:
        """In any order."""
        await self.store.write([channel('a', security='api'), user('api'), service('echo')], ME)
        self.assertEqual((await self.named('channel_rest', 'a')).value.security, 'api')

    async def test_an_edit_changes_what_it_names(self) -> None:
        """Other fields stay; an edit by name needs no id."""
        await self.store.write([service('echo'), channel('a', timeout=5.0)], ME)
        found = await self.named('channel_rest', 'a')
        await self.store.write([edit('channel_rest', found.id, method='GET')], ME)
        await self.store.write(
            [Operation(action='edit', type='channel_rest', name='a', fields={'url_path': '/moved'})], ME
        )
        after = await self.named('channel_rest', 'a')
        self.assertEqual((after.value.method, after.value.url_path, after.value.timeout), ('GET', '/moved', 5.0))
        self.assertEqual(after.id, found.id)

    async def test_renaming_is_followed_by_itself(self) -> None:
        """References show the new name, and referring objects count as changed."""
        await self.store.write([service('echo'), user('api'), channel('a', security='api'), channel('b')], ME)
        before = await self.store.revision()
        await self.store.write([edit('basic_auth', (await self.named('basic_auth', 'api')).id, name='API')], ME)
        changes = await self.store.changes(before)
        self.assertEqual({o.name for o in changes.changed}, {'API', 'a'})
        self.assertEqual((await self.named('channel_rest', 'a')).value.security, 'API')

    @per_engine
    async def test_names_and_paths_can_be_swapped(self) -> None:
        """In one write, as an import may do."""
        await self.store.write([service('echo'), channel('a'), channel('b')], ME)
        a, b = await self.named('channel_rest', 'a'), await self.named('channel_rest', 'b')
        await self.store.write(
            [
                edit('channel_rest', a.id, name='b', url_path='/b'),
                edit('channel_rest', b.id, name='a', url_path='/a'),
            ],
            ME,
        )
        self.assertEqual((await self.named('channel_rest', 'a')).id, b.id)
        self.assertEqual((await self.named('channel_rest', 'b')).id, a.id)

    @per_engine
    async def test_a_deleted_name_is_free_in_the_same_write(self) -> None:
        """The new object has another id: ids are never reused."""
        await self.store.write([user('api')], ME)
        old = await self.named('basic_auth', 'api')
        await self.store.write([user('api'), delete('basic_auth', old.id)], ME)
        self.assertGreater((await self.named('basic_auth', 'api')).id, old.id)

    @per_engine
    async def test_all_of_it_or_nothing(self) -> None:
        """One invalid operation rejects all others, and the revision stays."""
        before = await self.store.revision()
        await self.assertFailure(self.store.write([user('a'), user('b'), delete('basic_auth', 99)], ME), NotFound)
        self.assertEqual((await self.store.revision(), len(await self.snapshot())), (before, 0))

    @per_engine
    async def test_names_are_told_apart_exactly(self) -> None:
        """Case, accents, composition, emoji and trailing spaces matter."""
        names = ['straße', 'STRASSE', 'strasse', 'é', 'e\u0301', 'E', 'e', '🐢', '🐢\ufe0f', ' e', 'e ', '\u017f', 's']
        await self.store.write([user(name, '') for name in names], ME)
        self.assertEqual({o.name for o in await self.snapshot()}, set(names))
        await self.assertFailure(self.store.write([user('🐢', '')], ME), Conflict)

    async def test_ids_of_deleted_objects_are_told(self) -> None:
        """Changes contain the ids of deleted objects."""
        await self.store.write([user('a', ''), user('b', '')], ME)
        before = await self.store.revision()
        found = await self.named('basic_auth', 'a')
        await self.store.write([delete('basic_auth', found.id)], ME)
        self.assertEqual(await self.store.changes(before), ChangeSet(before + 1, (), (found.id,)))
        self.assertEqual(await self.store.changes(before + 1), ChangeSet(before + 1))
        self.assertEqual((await self.store.changes(0)).deleted, ())


@on_every_database
class RefusalTests(StoreCase):
    async def refused(self, fault: type[Exception], *operations: Operation) -> str:
        error = await self.assertFailure(self.store.write(operations, ME), fault)
        return str(error)

    @per_engine
    async def test_a_taken_name_is_named(self) -> None:
        """409, whether the name existed before or is created twice in one write."""
        await self.store.write([user('api', '')], ME)
        self.assertIn("'api' exists already", await self.refused(Conflict, user('api', '')))
        self.assertIn("'new' exists already", await self.refused(Conflict, user('new', ''), user('new', '')))
        other = await self.refused(Conflict, user('b', ''), edit('basic_auth', 1, name='b'))
        self.assertIn("'b' exists already", other)

    async def test_many_taken_names_are_one_readable_sentence(self) -> None:
        """Twenty names, and the number of others."""
        await self.store.write([user(f'u{n}', '') for n in range(30)], ME)
        text = await self.refused(Conflict, *(user(f'u{n}', '') for n in range(30)))
        self.assertIn('and 10 more', text)

    @per_engine
    async def test_a_path_taken_with_its_method_is_named(self) -> None:
        """Names of path parameters do not distinguish paths; methods do."""
        await self.store.write([service('echo'), channel('a', url_path='/x/{y}')], ME)
        text = await self.refused(Conflict, channel('b', url_path='/x/{z}'))
        self.assertIn("REST channel 'b' cannot have the method and url_path 'any /x/{}': 'a' has it", text)
        await self.store.write([channel('b', url_path='/x/{z}', method='GET')], ME)

    @per_engine
    async def test_what_is_referred_to_stays(self) -> None:
        """409 names the referring objects; deleting all of them together works."""
        await self.store.write([service('echo'), user('api', ''), channel('a', security='api')], ME)
        api, a = await self.named('basic_auth', 'api'), await self.named('channel_rest', 'a')
        text = await self.refused(Conflict, delete('basic_auth', api.id))
        self.assertEqual(text, "HTTP Basic Auth definition 'api' cannot be deleted: it is used by channel_rest 'a'")
        await self.store.write([delete('basic_auth', api.id), delete('channel_rest', a.id)], ME)

    async def test_many_users_are_named_in_short(self) -> None:
        """Ten, and others."""
        await self.store.write([service('echo'), *(channel(f'c{n}') for n in range(12))], ME)
        echo = await self.named('service', 'echo')
        self.assertTrue((await self.refused(Conflict, delete('service', echo.id))).endswith('and others'))

    async def test_a_reference_to_nothing_is_bad_input(self) -> None:
        """Field by field, also for objects deleted in the same write."""
        self.assertEqual(
            await self.refused(BadInput, channel('a', security='api')),
            "service: there is no service called 'echo'; security: there is no security called 'api'",
        )
        await self.store.write([service('echo'), user('api', '')], ME)
        api = await self.named('basic_auth', 'api')
        text = await self.refused(BadInput, channel('a', security='api'), delete('basic_auth', api.id))
        self.assertIn("there is no security called 'api'", text)

    async def test_unknown_objects_are_not_found(self) -> None:
        """By id, by name, and by the id of an object of another type."""
        await self.store.write([user('api', '')], ME)
        api = await self.named('basic_auth', 'api')
        self.assertIn('with the id 99', await self.refused(NotFound, delete('basic_auth', 99)))
        self.assertIn('with the id', await self.refused(NotFound, delete('channel_rest', api.id)))
        gone = Operation(action='delete', type='basic_auth', name='nobody')
        self.assertIn("called 'nobody'", await self.refused(NotFound, gone))

    async def test_what_does_not_fit_its_struct_is_bad_input(self) -> None:
        """The last check; callers validate before."""
        await self.refused(BadInput, Operation(action='create', type='basic_auth', name='x', fields={'name': 'x'}))


class SecretTests(StoreCase):
    async def test_passwords_are_hashed_and_nowhere_in_clear(self) -> None:
        """argon2id with the default parameters; not in the file, not in the history."""
        await self.store.write([user('api', 'open-sesame')], ME)
        found = await self.named('basic_auth', 'api')
        self.assertTrue(found.value.password.startswith('$argon2id$v=19$m=19456,t=2,p=1$'))
        self.assertTrue(verify_password(hash_of_dual_secret(found.value.password), 'open-sesame'))
        self.assertFalse(verify_password(hash_of_dual_secret(found.value.password), 'open-sesamo'))
        self.assertFalse(verify_password('', 'open-sesame'))
        self.assertNotIn('open-sesame', self.stored())
        history = repr(await self.store.history())
        self.assertNotIn('open-sesame', history)
        self.assertNotIn('argon2', history)
        self.assertIn('******', history)

    async def test_what_channels_verify_and_others_are_shown(self) -> None:
        """A Basic auth password is stored as a hash and encrypted."""
        await self.store.write([user('api', 'open-sesame')], ME)
        password = (await self.named('basic_auth', 'api')).value.password
        self.assertTrue(is_argon2id_hash(hash_of_dual_secret(password)))
        self.assertEqual(Secrets(KEY).decrypt(encrypted_part_of_dual_secret(password)), 'open-sesame')
        await self.store.write([user('copy', password)], ME)
        self.assertEqual((await self.named('basic_auth', 'copy')).value.password, password)
        foreign = combine_dual_secret(hash_of_dual_secret(password), Secrets(new_key()).encrypt('open-sesame'))
        await self.store.write([user('import', foreign)], ME)
        self.assertEqual((await self.named('basic_auth', 'import')).value.password, hash_of_dual_secret(password))

    async def test_a_hash_is_kept_as_it_is(self) -> None:
        """An export with secrets can be imported; text that only looks like a hash, or is too expensive to verify, is
        hashed."""
        hashed = hash_secret('sesame')
        await self.store.write([user('a', hashed), user('b', '$argon2id$nonsense')], ME)
        self.assertEqual((await self.named('basic_auth', 'a')).value.password, hashed)
        self.assertTrue(
            verify_password(
                hash_of_dual_secret((await self.named('basic_auth', 'b')).value.password), '$argon2id$nonsense'
            )
        )
        self.assertFalse(is_argon2id_hash(hashed.replace('m=19456', 'm=4194304')))

    async def test_no_password_stays_none(self) -> None:
        """Without a password nobody is admitted."""
        await self.store.write([user('a', '')], ME)
        self.assertEqual((await self.named('basic_auth', 'a')).value.password, '')

    async def test_an_edit_of_something_else_keeps_the_password(self) -> None:
        """An edit of the password changes it."""
        await self.store.write([user('a', 'first')], ME)
        before = await self.named('basic_auth', 'a')
        await self.store.write([edit('basic_auth', before.id, realm='R')], ME)
        self.assertEqual((await self.named('basic_auth', 'a')).value.password, before.value.password)
        await self.store.write([edit('basic_auth', before.id, password='second')], ME)
        self.assertTrue(
            verify_password(hash_of_dual_secret((await self.named('basic_auth', 'a')).value.password), 'second')
        )

    async def test_what_is_encrypted_is_not_encrypted_again(self) -> None:
        """With this key; ciphertext of another key is encrypted as text."""
        secrets, others = Secrets(KEY), Secrets(new_key())
        stored = secrets.encrypt('sesame')
        self.assertEqual(secrets.encrypt(stored), stored)
        self.assertEqual(secrets.decrypt(stored), 'sesame')
        self.assertEqual(others.decrypt(others.encrypt(stored)), stored)

    async def test_another_key_is_refused_with_a_sentence(self) -> None:
        """Before the key is used; invalid keys at once."""
        other = open_store(self.url, new_key(), reactor=reactor, cluster=CLUSTER, types=TYPES)
        self.addCleanup(other.close)
        error = await self.assertFailure(other.revision(), ServiceUnavailable)
        self.assertIn('same config/secret.key', str(error))
        refusal = self.assertRaises(
            ValueError, open_store, self.url, 'no key', reactor=None, cluster=CLUSTER, types=TYPES
        )
        self.assertIn('generate-key', str(refusal))


@on_every_database
class HistoryTests(StoreCase):
    async def test_who_changed_what_when(self) -> None:
        """Newest first; for an edit only the differences; references by name."""
        started = time.time()
        await self.store.write([service('echo'), user('api', ''), channel('a', security='api')], ME)
        a = await self.named('channel_rest', 'a')
        await self.store.write([edit('channel_rest', a.id, method='GET', timeout=60.0, security=None)], ME)
        await self.store.write([delete('channel_rest', a.id)], ME)
        deleted, edited, created = (await self.store.history(limit=3))[:3]
        self.assertEqual((deleted.action, deleted.name, deleted.new), ('delete', 'a', {}))
        self.assertEqual(deleted.old['service'], 'echo')
        self.assertEqual(edited.old, {'method': None, 'security': 'api'})
        self.assertEqual(edited.new, {'method': 'GET', 'security': None})
        self.assertEqual((created.action, created.old, created.new['security']), ('create', {}, 'api'))
        self.assertEqual((edited.who, edited.source, edited.type), ('me', 'a test', 'channel_rest'))
        self.assertEqual((edited.address, edited.cid), ('127.0.0.1', '0123456789abcdef01234567'))
        self.assertTrue(started <= edited.at <= time.time())
        self.assertEqual(deleted.revision, edited.revision + 1)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A nested Struct."""

    steps: Annotated[int, field('How many')]
    on: Annotated[list[str], field('Where')] = msgspec.field(default_factory=list)


class Probe(ConfigObject, frozen=True, kw_only=True):
    """An object type unknown to the product."""

    name: Annotated[str, field('Its name')]
    token: Annotated[str, field('Secret that is read back', secret='encrypted')] = ''
    target: Annotated[str | None, field('Another probe', ref='probes')] = None
    others: Annotated[tuple[str, ...], field('More probes', ref='probes')] = ()
    pace: Annotated[Pace | None, field('How fast')] = None


PROBE = ObjectType(key='probe', struct=Probe, section='probes', title='Probe')


class ThrowAwayTypeTests(StoreCase):
    """A new type needs no code for storage: encryption, references and history work."""

    types = ObjectTypeRegistry((*TYPES, PROBE))

    def probe(self, name: str, **fields: object) -> Operation:
        return Operation(action='create', type='probe', name=name, fields={'name': name, **fields})

    async def test_it_is_stored_and_found(self) -> None:
        """Its secret is encrypted at rest and readable in use; ciphertext is recognized."""
        await self.store.write(
            [self.probe('a', token='open-sesame', target='b'), self.probe('b', token='enc:no token'), self.probe('c')],
            ME,
        )
        self.assertEqual((await self.named('probe', 'a')).value, Probe(name='a', token='open-sesame', target='b'))
        self.assertEqual((await self.named('probe', 'b')).value.token, 'enc:no token')
        self.assertEqual((await self.named('probe', 'c')).value.token, '')
        self.assertNotIn('open-sesame', self.stored())
        self.assertNotIn('open-sesame', repr(await self.store.history()) + repr(await self.snapshot()))

    async def test_its_references_hold(self) -> None:
        """Like those of any type."""
        await self.store.write([self.probe('a', target='b'), self.probe('b')], ME)
        b = await self.named('probe', 'b')
        error = await self.assertFailure(self.store.write([delete('probe', b.id)], ME), Conflict)
        self.assertIn("Probe 'b' cannot be deleted: it is used by probe 'a'", str(error))

    async def test_a_list_of_references_is_as_many_references(self) -> None:
        """The order and duplicates are kept; renames are followed, referenced objects cannot be deleted, and a missing
        one is reported by position."""
        await self.store.write([self.probe('a', others=['c', 'b', 'c']), self.probe('b'), self.probe('c')], ME)
        a, c = await self.named('probe', 'a'), await self.named('probe', 'c')
        self.assertEqual(a.value.others, ('c', 'b', 'c'))
        error = await self.assertFailure(self.store.write([delete('probe', c.id)], ME), Conflict)
        self.assertIn("Probe 'c' cannot be deleted: it is used by probe 'a'", str(error))
        await self.store.write([edit('probe', c.id, name='z')], ME)
        self.assertEqual((await self.named('probe', 'a')).value.others, ('z', 'b', 'z'))
        error = await self.assertFailure(self.store.write([edit('probe', a.id, others=['b', 'y'])], ME), BadInput)
        self.assertEqual(str(error), "others[1]: there is no probes called 'y'")
        await self.store.write([edit('probe', a.id, others=['b']), delete('probe', c.id)], ME)
        self.assertEqual((await self.named('probe', 'a')).value.others, ('b',))

    async def test_a_mapping_is_a_value_like_any_other(self) -> None:
        """It is returned as its Struct, changes as a whole, and the history has its old value."""
        await self.store.write([self.probe('a', pace=Pace(steps=3)), self.probe('b', pace={'steps': 1})], ME)
        a = await self.named('probe', 'a')
        self.assertEqual((a.value.pace, (await self.named('probe', 'b')).value.pace), (Pace(steps=3), Pace(steps=1)))
        await self.store.write([edit('probe', a.id, pace=Pace(steps=4, on=['x']))], ME)
        await self.store.write([edit('probe', a.id, pace=None)], ME)
        self.assertEqual((await self.named('probe', 'a')).value.pace, None)
        last, before = (await self.store.history(limit=2))[:2]
        self.assertEqual((last.old, last.new), ({'pace': {'steps': 4, 'on': ['x']}}, {'pace': None}))
        self.assertEqual(before.old, {'pace': {'steps': 3, 'on': []}})
        error = await self.assertFailure(self.store.write([edit('probe', a.id, pace={})], ME), BadInput)
        self.assertIn('steps', str(error))

    async def test_those_who_do_not_know_it_leave_it_alone(self) -> None:
        """A node without the type reads everything else, and its writes do not harm the objects."""
        await self.store.write([self.probe('a', target='b'), self.probe('b')], ME)
        self.types = TYPES
        plain = self.open()
        self.assertEqual((await plain.changes(0)).changed, ())
        await plain.write([user('api', '')], ME)
        self.assertEqual((await self.named('probe', 'a')).value.target, 'b')


class ForeignTests(StoreCase):
    async def test_an_object_this_version_cannot_read_is_named(self) -> None:
        """Instead of a traceback."""
        await self.store.write([user('api', '')], ME)
        change = 'UPDATE config_object SET document = replace(document, :old, :new)'
        self.sql(change, old='"realm":"zatotx"', new='"realm":7')
        error = await self.assertFailure(self.store.changes(0), ServiceUnavailable)
        self.assertIn("basic_auth 'api' of the ODB does not fit this version", str(error))


@on_every_database
class SizeTests(StoreCase):
    async def test_ten_thousand_channels(self) -> None:
        """Written in seconds, read in milliseconds, changed one by one at once. (The figures are printed.)"""
        await self.store.write([service('echo'), user('api', '')], ME)
        started = time.perf_counter()
        revision = await self.store.write([channel(f'c{n}', security='api') for n in range(MANY)], ME)
        written = time.perf_counter()
        everything = await self.store.changes(0)
        read = time.perf_counter()
        await self.store.write([edit('channel_rest', everything.changed[-1].id, timeout=1.0)], ME)
        changes = await self.store.changes(revision)
        changed = time.perf_counter()
        print(f'\n{MANY} channels: written in {written - started:.2f} s, read in {read - written:.2f} s, '
              f'one changed and seen in {(changed - read) * 1000:.1f} ms')  # fmt: skip
        self.assertEqual((len(everything.changed), len(changes.changed)), (MANY + 2, 1))
        self.assertLess(changed - started, 300)

    async def test_reading_many_moves_on(self) -> None:
        """Each object counts as progress: reading all may take longer than the deadline."""
        await self.store.write([service('echo'), *(channel(f'c{n}') for n in range(20))], ME)
        moves, before = list[float](), CancellableCall.report_progress

        def moved(call: CancellableCall) -> None:
            moves.append(call.seconds_since_progress())
            before(call)

        self.patch(CancellableCall, 'report_progress', moved)
        self.assertEqual(len((await self.store.changes(0)).changed), 21)
        self.assertGreaterEqual(len(moves), 2 * 21)  # found, and read

    @per_engine
    async def test_readers_do_not_wait_for_a_writer(self) -> None:
        """Reads during a write transaction return the previous state, never a partial write."""
        revision = await self.store.write([service('echo')], ME)
        engine = make_engine(self.url, 'write')
        self.addCleanup(engine.dispose)
        with engine.connect() as writer:
            writer.execute(text('UPDATE cluster SET revision = 99'))
            writer.execute(text("UPDATE config_object SET revision = 99, name = 'half'"))
            before = await self.store.changes(0)
            writer.rollback()
        self.assertEqual((before.revision, [found.name for found in before.changed]), (revision, ['echo']))
        writing = self.store.write([channel(f'c{n}') for n in range(500)], ME)
        seen = {len((await self.store.changes(0)).changed) for _ in range(20)}
        await writing
        seen.add(len((await self.store.changes(0)).changed))
        self.assertEqual(seen - {1, 501}, set())

    @per_engine
    async def test_many_calls_at_once(self) -> None:
        """Each gets its result."""
        revisions = await gatherResults([self.store.write([user(f'u{n}', '')], ME) for n in range(40)])
        self.assertEqual(len(set(revisions)), 40)
        self.assertEqual(len(await gatherResults([self.store.changes(0) for _ in range(40)])), 40)


class ClosedTests(OdbCase):
    async def test_closing_lets_what_is_under_way_end(self) -> None:
        """Running calls complete, new ones are rejected, and closing may be repeated."""
        store = open_store(self.url, KEY, reactor=reactor, cluster=CLUSTER, types=TYPES)
        writing = store.write([user('a')], ME)
        revision = store.revision()
        await revision
        await writing
        await store.close()
        await store.close()
        await self.assertFailure(store.revision(), ServiceUnavailable)
        self.assertEqual(len((await self.store.changes(0)).changed), 1)
