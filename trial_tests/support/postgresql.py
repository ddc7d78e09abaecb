"""A real PostgreSQL, to make databases in, to be frozen, killed and started again."""

from __future__ import annotations

import atexit
from itertools import count
from pathlib import Path

import psycopg

from trial_tests.support.daemon import Daemon

PASSWORD = 'postgresql-sEcReT'
_numbers = count(1)


class PostgreSQL(Daemon):
    """One server. Nothing runs before `start`."""

    what = 'postgresql'
    account = 'postgres'
    death = 'QUIT'  # an immediate shutdown, which takes the shared memory along

    def __init__(self, *options: str) -> None:
        """`options`: more settings, as 'max_connections=5'. Commits reach the kernel, and
        thus survive kill -9, but not the disk."""
        super().__init__()
        self._options = options
        self._data = self.directory / 'data'
        secret = self.directory / 'password'
        secret.write_text(PASSWORD, 'utf-8')
        secret.chmod(0o644)
        self.once(
            str(_binaries() / 'initdb'), '-D', str(self._data), '-U', 'admin', '-A', 'scram-sha-256', '--no-sync',
            '--pwfile', str(secret), '-E', 'UTF8', '--locale=C.UTF-8', '--no-instructions',
        )  # fmt: skip

    def command(self) -> list[str]:
        settings = [
            'listen_addresses=127.0.0.1', 'unix_socket_directories=', f'port={self.port}', 'shared_buffers=16MB',
            'max_connections=60', 'fsync=off', 'full_page_writes=off', 'deadlock_timeout=200ms', *self._options,
        ]  # fmt: skip
        return [str(_binaries() / 'postgres'), '-D', str(self._data), *(w for s in settings for w in ('-c', s))]

    def answers(self) -> bool:
        try:
            self.ask('SELECT 1')
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, statement: str, database: str = 'postgres') -> list[tuple[object, ...]]:
        """One statement by the administrator, by itself; its rows."""
        with psycopg.connect(
            host='127.0.0.1', port=self.port, user='admin', password=PASSWORD, dbname=database, connect_timeout=60,
            autocommit=True,
        ) as connection:  # fmt: skip
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def fresh(self, template: str = 'template0') -> str:
        """The URL of a database that nobody has used."""
        name = f'odb{next(_numbers)}'
        self.ask(f'CREATE DATABASE {name} TEMPLATE {template}')
        return self.url(name)

    def url(self, database: str, user: str = 'admin', password: str = PASSWORD) -> str:
        return f'postgresql+psycopg://{user}:{password}@127.0.0.1:{self.port}/{database}'


def _binaries() -> Path:
    """Of the newest version that is installed."""
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin'), key=lambda path: int(path.parent.name))
    assert found, 'the Debian package postgresql is not installed'
    return found[-1]


_shared: list[PostgreSQL] = []


def shared() -> PostgreSQL:
    """The one that all tests of this process use; it runs."""
    if not _shared:
        server = PostgreSQL()
        atexit.register(server.close)
        server.start()
        _shared.append(server)
    return _shared[0]
