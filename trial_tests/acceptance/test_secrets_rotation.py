"""A new secret key: everything is encrypted with it, whatever runs meanwhile and whatever ends the command."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Table
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import broker
from trial_tests.support.broker import Broker, free_offset, quickstart
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.odb import CLUSTER, KEY, ME, TYPES, OdbCase, edit, on_every_database, per_engine, user
from trial_tests.support.reactor import reactor
from trial_tests.support.vault import VAULT, installed, vault
from trial_tests.support.waiting import until
from zatotx.cli import crypto
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.model.errors import ServiceUnavailable
from zatotx.odb import key_rotation
from zatotx.odb.config_store import open_store
from zatotx.odb.database import Database
from zatotx.odb.database_executor import CancellableCall
from zatotx.odb.mutations import apply_operations
from zatotx.odb.nodes import NodeAddress, register_node
from zatotx.odb.offline_operations import open_database, read_snapshot, write_operations
from zatotx.odb.secrets import Secrets, hash_secret, new_key
from zatotx.odb.struct_conversion import protect_secrets
from zatotx.odb.transaction import begin_transaction
from zatotx.schema.secrets import encrypted_part_of_dual_secret, hash_of_dual_secret
from zatotx.schema.type_registry import ObjectTypeRegistry

WITH_VAULTS = ObjectTypeRegistry((*TYPES, VAULT))
URL = 'redis://user:planted@127.0.0.1:1'


@on_every_database
class DatabaseTests(OdbCase):
    """zatotx/odb/key_rotation.py on the database itself."""

    types = WITH_VAULTS

    def opened(self, keys: str, types: ObjectTypeRegistry = WITH_VAULTS) -> Database:
        database = open_database(self.url, keys, cluster=CLUSTER, types=types)
        self.addCleanup(database.close)
        return database

    def rows(self, database: Database, table: Table) -> Sequence[Any]:
        return database.read(lambda connection, _: connection.execute(table.select()).all())

    def secrets(self, keys: str) -> dict[str, str]:
        """Name -> secret, as one who has these keys reads them."""
        return {
            stored.name: stored.value.password for stored in read_snapshot(self.opened(keys)).objects_of_types('vault')
        }

    @per_engine
    def test_all_that_is_stored(self) -> None:
        """Objects, their former states and the check of the key, whether their kind is installed here or not, in
        transactions of a few rows each; a second time finds nothing to do."""
        self.patch(key_rotation, 'BATCH_SIZE', 2)
        database, new = self.database(), new_key()
        write_operations(database, [vault(f'v{number}', f's{number}') for number in range(5)], ME)
        first = read_snapshot(database).find('vault', 'v0')
        assert first is not None
        write_operations(database, [edit('vault', first.id, password='another')], ME)
        changed = key_rotation.rotate_key(self.opened(f'{new}\n{KEY}\n', TYPES))
        self.assertEqual(key_rotation.rotate_key(self.opened(f'{new},{KEY}')), 0)
        expected = {'v0': 'another', **{f'v{number}': f's{number}' for number in range(1, 5)}}
        self.assertEqual(self.secrets(new), expected)
        self.assertRaises(ServiceUnavailable, self.secrets, KEY)
        texts = [row.document for table in key_rotation.SECRET_TABLES for row in self.rows(self.opened(new), table)]
        tokens = re.findall('enc:[^"]+', ' '.join(texts))
        self.assertEqual(len(tokens), changed)
        self.assertEqual(changed, 5 + 6)
        self.assertTrue(all(Secrets(new).can_decrypt(token) for token in tokens))

    def test_a_secret_in_both_forms(self) -> None:
        """Its encrypted half is encrypted anew, in former states too; its hash stays what it was."""
        database, new = self.database(), new_key()
        write_operations(database, [user('api', 'sesame'), user('old', hash_secret('before there were both'))], ME)
        before = read_snapshot(database).find('basic_auth', 'api')
        assert before is not None
        self.assertEqual(key_rotation.rotate_key(self.opened(f'{new}\n{KEY}\n', TYPES)), 2)
        found = {
            stored.name: stored.value.password
            for stored in read_snapshot(self.opened(new)).objects_of_types('basic_auth')
        }
        self.assertEqual(hash_of_dual_secret(found['api']), hash_of_dual_secret(before.value.password))
        self.assertEqual(Secrets(new).decrypt(encrypted_part_of_dual_secret(found['api'])), 'sesame')
        self.assertEqual(encrypted_part_of_dual_secret(found['old']), '')
        for table in key_rotation.SECRET_TABLES:
            for token in re.findall('enc:[^" ]+', ' '.join(row.document for row in self.rows(self.opened(new), table))):
                self.assertTrue(Secrets(new).can_decrypt(token))

    async def test_a_process_that_runs_takes_up_the_new_key(self) -> None:
        """With no signal: it reads what the new key encrypted, and writes with it."""
        keys, new = [KEY], new_key()
        store = open_store(self.url, Secrets(KEY, lambda: keys[0]), reactor=reactor, cluster=CLUSTER,
                           types=WITH_VAULTS)
        self.addCleanup(store.close)
        await store.write([vault('before', 'b')], ME)
        keys[0] = f'{new} {KEY}'
        key_rotation.rotate_key(self.opened(keys[0]))
        found = {stored.name: stored.value.password for stored in (await store.changes(0)).changed
                 if stored.type == 'vault'}
        self.assertEqual(found, {'before': 'b'})
        await store.write([vault('after', 'a')], ME)
        self.assertEqual(self.secrets(new), {'before': 'b', 'after': 'a'})

    def test_what_was_encrypted_before_and_written_after(self) -> None:
        """A change that was under way when the key was changed is stored with the new one, even where the old one is
        gone from the file by then."""
        keys, new = [KEY], new_key()
        database = Database(url=self.url, cluster=CLUSTER, types=WITH_VAULTS, secrets=Secrets(KEY, lambda: keys[0]))
        self.addCleanup(database.close)
        ready = protect_secrets(WITH_VAULTS, database.secrets, [vault('slow', 's'), user('both', 'b')], lambda: None)
        keys[0] = f'{new} {KEY}'
        key_rotation.rotate_key(self.opened(keys[0]))
        keys[0] = new
        database.write(
            CancellableCall(),
            lambda c, cluster: apply_operations(begin_transaction(c, cluster, ME, lambda: None), ready),
        )
        self.assertEqual(self.secrets(new), {'slow': 's'})
        stored = read_snapshot(self.opened(new)).find('basic_auth', 'both')
        assert stored is not None
        self.assertEqual(Secrets(new).decrypt(encrypted_part_of_dual_secret(stored.value.password)), 'b')


class SecretsTests(SynchronousTestCase):
    """Several keys in one text."""

    def test_the_first_encrypts_and_all_decrypt(self) -> None:
        """With lines, commas or blanks between them."""
        one, two = new_key(), new_key()
        old = Secrets(one).encrypt('sesame')
        for keys in (f'{two}\n{one}\n', f'{two},{one}', f' {two} {one}'):
            both = Secrets(keys)
            self.assertEqual((both.decrypt(old), both.encrypt(old)), ('sesame', old))
            self.assertEqual(Secrets(two).decrypt(both.encrypt('x')), 'x')
            self.assertEqual(Secrets(two).decrypt(both.reencrypt(old)), 'sesame')
        for text in ('', ' \n', f'{one} no-key', 'x' * 44):
            self.assertRaises(ValueError, Secrets, text)

    def test_what_renewing_leaves_alone(self) -> None:
        """What the first key encrypted, what nobody here can read, and what is no secret; a secret that is itself an
        encrypted text stays that text."""
        one, two, other = new_key(), new_key(), new_key()
        both, foreign = Secrets(f'{two},{one}'), Secrets(other).encrypt('x')
        for text in (both.encrypt('x'), foreign, 'enc:', 'sesame', ''):
            self.assertEqual(both.reencrypt(text), text)
        inner = Secrets(two).encrypt('x')
        self.assertEqual(Secrets(two).decrypt(both.reencrypt(Secrets(one).encrypt(inner))), inner)

    def test_a_key_that_cannot_be_read_again(self) -> None:
        """Leaves the keys there were, and the sentence is about the key."""
        def gone() -> str:
            raise ValueError('gone')

        one = new_key()
        for look in (gone, lambda: 'nonsense', lambda: one):
            secrets = Secrets(one, look)
            error = self.assertRaises(ServiceUnavailable, secrets.decrypt, Secrets(new_key()).encrypt('x'))
            self.assertIn('config/secret.key', str(error))
            self.assertEqual(secrets.decrypt(Secrets(one).encrypt('x')), 'x')


class Environment:
    """Two servers that do not run, with a vault in their database and a password in their settings."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        quickstart(self.path, '--servers', 2, '--port-offset', free_offset(),
                      '--redis-url', URL)
        database = self.database(self.keys()[0])
        write_operations(database, [vault('one', 'sesame')], ME)
        database.close()

    def copy(self, to: Path) -> Environment:
        shutil.copytree(self.path, to)
        return Environment(to)

    def files(self) -> list[Path]:
        return sorted(self.path.glob('server*/config/secret.key'))

    def keys(self) -> list[str]:
        """The text of each server's secret.key."""
        return [file.read_text().strip() for file in self.files()]

    def database(self, keys: str) -> Database:
        cluster = self.settings(1)['main']['cluster']
        return open_database(f'sqlite:///{self.path}/odb/zatotx.db', keys, cluster=cluster, types=WITH_VAULTS)

    def settings(self, server: int) -> dict[str, dict[str, str]]:
        return tomllib.loads((self.path / f'server{server}/config/server.toml').read_text())

    def problems(self) -> list[str]:
        """What one who has the key of a server could not read."""
        found = []
        for server, keys in enumerate(self.keys(), 1):
            database = self.database(keys)
            vaults = [stored.value.password for stored in read_snapshot(database).objects_of_types('vault')]
            database.close()
            url = Secrets(keys).decrypt(self.settings(server)['kvdb']['url'])
            if (vaults, url) != (['sesame'], URL):
                found.append(f'server{server}: {vaults} {url}')
        return found

    def rotate(self, **env: str) -> Said:
        return zatotx('crypto', 'rotate-key', self.path, env=env)


class CommandTests(SynchronousTestCase):
    """`zatotx crypto rotate-key` where no server runs."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        self.made = Environment(self.place / 'qs')
        self.made.make()
        self.old = self.made.keys()[0]

    def check_done(self, environment: Environment) -> None:
        keys = environment.keys()
        self.assertEqual((len(set(keys)), len(keys[0].split())), (1, 1), keys)
        self.assertNotIn(self.old, keys)
        self.assertEqual(environment.problems(), [])
        self.assertFalse((environment.path / 'rotation.key').exists())
        self.assertEqual({file.stat().st_mode & 0o777 for file in environment.files()}, {0o600})
        database = environment.database(self.old)
        self.addCleanup(database.close)
        self.assertRaises(ServiceUnavailable, read_snapshot, database)

    def test_all_of_an_environment(self) -> None:
        """Database and settings of every server are of the new key, and nothing is of the old one; comments stay."""
        said = self.made.rotate()
        self.assertEqual(said.code, 0, said)
        self.check_done(self.made)
        self.assertIn('# seconds per command', (self.made.path / 'server2/config/server.toml').read_text())
        self.assertNotIn(self.old, said.out)
        self.assertNotIn(self.made.keys()[0], said.out)

    def test_ended_after_any_step(self) -> None:
        """Every server reads everything then, and running it again finishes."""
        count = len(crypto.rotation_steps(find_environment(str(self.made.path))))
        self.assertEqual(count, 7)
        for done in range(count + 1):
            environment = self.made.copy(self.place / f'after{done}')
            for step in crypto.rotation_steps(find_environment(str(environment.path)))[:done]:
                step.run()
            self.assertEqual(environment.problems(), [], done)
            self.assertEqual(environment.rotate().code, 0)
            if done < count:
                self.check_done(environment)
            self.assertEqual(environment.problems(), [], done)

    def test_killed_at_any_moment(self) -> None:
        """kill -9 before every file and every transaction that it writes: all can be read, and again finishes."""
        command = [sys.executable, '-m', 'trial_tests.support.rotation_kills', str(self.made.path), str(self.place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        killed = json.loads(done.stdout)
        self.assertGreater(len(killed), 12)
        for path in killed:
            environment = Environment(Path(path))
            self.assertEqual(environment.problems(), [], path)
            self.assertEqual(environment.rotate().code, 0)
            self.check_done(environment)

    def test_a_backup_of_before(self) -> None:
        """A database that another key encrypted is read with that key as a second line, and brought to a new one."""
        backup = (self.made.path / 'odb/zatotx.db').read_bytes()
        self.assertEqual(self.made.rotate().code, 0)
        for file in self.made.path.glob('odb/*'):
            file.unlink()
        (self.made.path / 'odb/zatotx.db').write_bytes(backup)
        self.assertEqual(zatotx('odb', 'check', self.made.path).code, 1)
        for file in self.made.files():
            file.write_text(f'{file.read_text()}{self.old}\n')
        self.assertEqual(self.made.problems(), [])
        self.assertEqual(zatotx('odb', 'check', self.made.path).code, 0)
        self.assertEqual(self.made.rotate().code, 0)
        self.check_done(self.made)

    def test_keys_that_differ(self) -> None:
        """Which of them the database was written with nobody knows: nothing is done."""
        self.made.files()[1].write_text(new_key())
        said = self.made.rotate()
        self.assertEqual(said.code, 1)
        self.assertIn('different keys', said.err)
        self.assertEqual(self.made.keys()[0], self.old)

    def test_a_key_of_the_environment(self) -> None:
        """One in ZATOTX_SECRET_KEY is not ours to change: what to do is said; with the new one before it, all but the
        files of keys is done."""
        for file in self.made.files():
            file.unlink()
        said = self.made.rotate(ZATOTX_SECRET_KEY=self.old)
        self.assertEqual((said.code, 'put a new one' in said.err), (1, True), said)
        new = new_key()
        said = self.made.rotate(ZATOTX_SECRET_KEY=f'{new},{self.old}')
        self.assertEqual((said.code, 'can be removed from ZATOTX_SECRET_KEY' in said.out), (0, True), said)
        for file in self.made.files() or (self.made.path / f'server{n}/config/secret.key' for n in (1, 2)):
            file.write_text(new)
            file.chmod(0o600)
        self.check_done(self.made)

    def test_servers_of_other_environments(self) -> None:
        """One that runs with the same database would be left with the old key: it is named, nothing is done."""
        database = self.made.database(self.old)
        self.addCleanup(database.close)
        address = NodeAddress(name='server9', host='elsewhere', port=1, pid=1)
        database.write(CancellableCall(), lambda connection, cluster: register_node(connection, cluster, address))
        said = self.made.rotate()
        self.assertEqual((said.code, 'stop server9 (elsewhere) first' in said.err), (1, True), said)
        self.assertEqual(self.made.keys(), [self.old, self.old])

    def test_two_at_once(self) -> None:
        """The second is sent away, so that there is one new key."""
        with crypto.rotation_lock(self.made.path):
            said = self.made.rotate()
        self.assertEqual((said.code, 'Another process' in said.err), (1, True), said)

    def test_a_database_that_is_not_there(self) -> None:
        """One sentence, before any key was changed."""
        (self.made.path / 'odb/zatotx.db').rename(self.place / 'away.db')
        said = self.made.rotate()
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
        self.assertEqual(self.made.keys(), [self.old, self.old])
        (self.place / 'away.db').rename(self.made.path / 'odb/zatotx.db')
        self.assertEqual(self.made.rotate().code, 0)
        self.check_done(self.made)

    def test_a_database_that_is_locked(self) -> None:
        """The command fails with a sentence; all can be read as before, and it goes on once the lock is gone."""
        lock = sqlite3.connect(self.made.path / 'odb/zatotx.db', isolation_level=None)
        lock.execute('BEGIN IMMEDIATE')
        said = self.made.rotate()
        lock.execute('ROLLBACK')
        lock.close()
        self.assertEqual((said.code, 'is locked' in said.err.splitlines()[-1]), (1, True), said)
        self.assertEqual(self.made.problems(), [])
        self.assertEqual(self.made.rotate().code, 0)
        self.check_done(self.made)

    def test_a_key_that_others_may_read(self) -> None:
        """Is said, with the command that mends it."""
        self.made.files()[0].chmod(0o640)
        said = self.made.rotate()
        self.assertEqual((said.code, 'chmod 600' in said.err), (1, True), said)
        self.made.files()[0].chmod(0o600)


class RunningTests(SynchronousTestCase):
    """`zatotx crypto rotate-key` while two servers run."""

    def setUp(self) -> None:
        self.broker: Broker = broker.create(servers=2)
        self.addCleanup(broker.remove, self.broker)
        self.env = installed(self.broker.path.parent / 'kind')
        self.broker.must('start', str(self.broker.path), env=self.env)
        self.stop = threading.Event()
        self.written: list[str] = []

    def put(self, name: str) -> None:
        document = yaml.safe_dump({'vault': [{'name': name, 'password': f'secret of {name}'}]})
        file = self.broker.write(f'{name}.yaml', document)
        self.broker.must('enmasse', str(self.broker.path), '--import', '--input', str(file), env=self.env)
        self.written.append(name)

    def write_on(self) -> None:
        """Vaults, one after another, until told to stop."""
        while not self.stop.is_set():
            self.put(f'v{len(self.written)}')

    def secrets(self, server: int) -> dict[str, str]:
        """What a server reads, by an export of it."""
        path = str(self.broker.directory(server))
        document = yaml.safe_load(self.broker.must('enmasse', path, '--export', '--include-secrets', env=self.env))
        return {item['name']: item['password'] for item in document['vault']}

    def test_nothing_is_missed(self) -> None:
        """Writes go on through three rotations and all succeed; both servers read everything, running and after a
        restart, when no old key is left."""
        self.put('v0')
        old = (self.broker.directory() / 'config/secret.key').read_text()
        writer = threading.Thread(target=self.write_on)
        writer.start()
        try:
            for _ in range(3):
                before = len(self.written)
                self.broker.must('crypto', 'rotate-key', str(self.broker.path))
                until(lambda before=before: len(self.written) > before, 'a write beside a rotation')  # type: ignore[misc]
        finally:
            self.stop.set()
            writer.join(240)
        self.put('last')
        expected = {name: f'secret of {name}' for name in self.written}
        self.assertGreater(len(expected), 3)
        self.assertEqual([self.secrets(server) for server in (1, 2)], [expected, expected])
        self.broker.must('stop', str(self.broker.path))
        self.broker.must('start', str(self.broker.path), env=self.env)
        self.assertEqual([self.secrets(server) for server in (1, 2)], [expected, expected])
        key = (self.broker.directory(2) / 'config/secret.key').read_text()
        self.assertEqual((len(key.split()), key != old), (1, True))
