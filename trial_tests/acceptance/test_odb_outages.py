"""Whole environments on PostgreSQL and MariaDB: made, run, their database killed and frozen under them."""

from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import mariadb, postgresql
from trial_tests.support.broker import Broker, create, free_offset, remove, shared
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.served import serve
from trial_tests.support.waiting import until

REFUSED_WITHIN = 30.0  # seconds: the contract's 5, and what a busy machine adds
BACK_WITHIN = 60.0
SERVERS = (1, 2)


class RunningTests:
    """What holds on both databases; the classes at the end run it."""

    kind = ''

    @property
    def database(self) -> Any:
        return (postgresql if self.kind == 'postgresql' else mariadb).shared()

    def setUp(self: Any) -> None:
        def build() -> Broker:
            return serve(create(servers=len(SERVERS), more=('--odb-url', self.database.fresh())))

        self.broker = shared(f'on {self.kind}', build)

    def write(self: Any, server: int) -> tuple[int, float]:
        """The status of a change that is asked of a server, and how long it took."""
        began = time.monotonic()
        body = json.dumps({'name': f'u{time.monotonic_ns()}', 'username': 'u', 'realm': 'r', 'is_active': True})
        answer = self.broker.invoke('zato.security.basic-auth.create', body.encode(), server=server)
        return answer.status, time.monotonic() - began

    def served(self: Any, server: int) -> int:
        """The status of a request that needs no database."""
        return int(self.broker.ask('POST', '/acc/echo', body=b'{}', server=server).status)

    def test_it_runs(self: Any) -> None:
        """A change is in force on the other server; who made it stands in the history."""
        self.assertEqual([self.served(server) for server in SERVERS], [200, 200])
        self.assertEqual(self.write(1)[0], 200)
        rows = json.loads(self.broker.must('history', str(self.broker.path), '--limit', '1', '--format', 'json'))
        self.assertEqual((rows[0]['who'], rows[0]['address']), ('admin.invoke', '127.0.0.1'))

    def test_commands_that_need_no_server(self: Any) -> None:
        """Know the database by the encrypted URL of the server's settings; its password stands nowhere."""
        path = str(self.broker.path)
        self.assertEqual(self.broker.must('odb', 'current', path), 'current\n')
        self.assertIn('objects at revision', self.broker.must('odb', 'check', path))
        self.broker.must('check-config', path)
        files = [file for file in self.broker.path.rglob('*') if file.is_file() and file.name != 'credentials.toml']
        for file in files:
            self.assertNotIn(self.database_password.encode(), file.read_bytes(), file)


class OutageTests(RunningTests):
    """How servers behave while their database is away: on one database, as integration/test_odb_servers.py shows for
    each what becomes of connections that were killed or frozen."""

    def goes_on(self: Any) -> None:
        """All is served but changes, which are refused in time; each server."""
        for server in SERVERS:
            status, seconds = self.write(server)
            self.assertIn(status, (503, 504))
            self.assertLess(seconds, REFUSED_WITHIN)
            self.assertEqual(self.served(server), 200)

    def is_back(self: Any) -> None:
        """Every server takes changes again in time."""
        end = time.monotonic() + BACK_WITHIN
        for server in SERVERS:
            until(partial(self.takes_a_change, server), 'a write', max(end - time.monotonic(), 0.1))

    def takes_a_change(self: Any, server: int) -> bool:
        return bool(self.write(server)[0] == 200)

    def test_a_restored_revision_is_live(self: Any) -> None:
        """On every server when the command returns."""
        path = str(self.broker.path)
        rows = json.loads(self.broker.must('history', path, '--limit', '1', '--format', 'json'))
        self.broker.configure('channel_rest:\n  - {name: moved, url_path: /moved, service: acc.echo, security: null}\n')
        self.assertEqual(self.broker.ask('POST', '/moved', body=b'{}', server=2).status, 200)
        said = self.broker.must('history', 'restore', path, str(rows[0]['revision']))
        self.assertIn("- channel_rest 'moved'", said)
        for server in SERVERS:
            self.assertEqual(self.broker.ask('POST', '/moved', body=b'{}', server=server).status, 404)

    def test_the_database_is_killed(self: Any) -> None:
        """Running configuration stays in force."""
        self.addCleanup(lambda: self.database.answers() or self.database.start())
        self.database.kill()
        self.goes_on()
        self.database.start()
        self.is_back()

    def test_the_database_is_frozen(self: Any) -> None:
        """It stalls nothing but the call."""
        self.addCleanup(self.database.thaw)
        self.database.freeze()
        self.goes_on()
        self.database.thaw()
        self.is_back()


class OnPostgreSQLTests(OutageTests, SynchronousTestCase):
    """PostgreSQL."""

    kind = 'postgresql'
    database_password = postgresql.PASSWORD


class OnMariaDBTests(RunningTests, SynchronousTestCase):
    """MariaDB."""

    kind = 'mariadb'
    database_password = mariadb.PASSWORD


class QuickstartTests(SynchronousTestCase):
    """`quickstart create --odb-url` makes all of it or nothing."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        self.offset = free_offset()

    def create(self, url: str) -> Said:
        return zatotx('quickstart', 'create', self.path, '--port-offset', self.offset, '--odb-url', url)

    def refused(self, url: str, code: int = 1) -> str:
        """The one sentence of why; nothing is at PATH."""
        said = self.create(url)
        self.assertEqual((said.code, len(sentences(said.err))), (code, 1), said)
        self.assertNotIn('sEcReT', said.out + said.err)
        self.assertFalse(self.path.exists())
        return said.err

    def test_a_database_that_is_in_use(self) -> None:
        """By another environment, or by another program."""
        for server in (postgresql.shared(), mariadb.shared()):
            url = server.fresh()
            self.assertEqual(self.create(url).code, 0)
            shutil.rmtree(self.path)
            self.assertIn('has a cluster called', self.refused(url))
            url = server.fresh()
            server.ask('CREATE TABLE customers (id INTEGER)', url.rpartition('/')[2])
            self.assertIn('tables of another program', self.refused(url))

    def test_a_url_that_leads_nowhere(self) -> None:
        """A wrong password, a database that is not there, a server that is not there, no URL at all."""
        for server in (postgresql.shared(), mariadb.shared()):
            good = server.fresh()
            self.assertIn('assword', self.refused(good.replace('-sEcReT', '-wrong-sEcReT')))
            self.assertIn('nosuch', self.refused(f'{good.rpartition("/")[0]}/nosuch'))
            self.refused(good.replace(f':{server.port}/', ':1/'))
        self.refused('oracle://me:sEcReT@h/db', 2)


class NewerTests(SynchronousTestCase):
    def test_a_node_that_finds_a_newer_schema_does_not_start(self) -> None:
        """It says why, and what to do; with the schema of its own version it starts."""
        url = postgresql.shared().fresh()
        name = url.rpartition('/')[2]
        broker = create(more=('--odb-url', url))
        self.addCleanup(remove, broker)
        postgresql.shared().ask("UPDATE alembic_version SET version_num = '9999'", name)
        said = broker.run('start', str(broker.path))
        self.assertEqual(said.code, 1)
        self.assertIn('newer version of zatotx', said.err)
        self.assertNotIn('sEcReT', said.text)
        self.assertNotIn('Traceback', said.text)


