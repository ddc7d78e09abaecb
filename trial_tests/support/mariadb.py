"""A real MariaDB, to make databases in, to be frozen, killed and started again."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pymysql

from trial_tests.support.daemon import Daemon
from trial_tests.support.ports import is_free
from trial_tests.support.waiting import until

PASSWORD = 'mariadb-sEcReT'
_numbers = count(1)


def _thread_states(pid: int) -> list[str]:
    """The state of each thread of a process, as `ps` shows it: T = stopped."""
    files = Path(f'/proc/{pid}/task').glob('*/stat')
    return [file.read_text('utf-8').rpartition(')')[2].split()[0] for file in files]


class MariaDB(Daemon):
    """One server. Nothing runs before `start`."""

    what = 'mariadb'
    account = 'mysql'

    def __init__(self, *options: str) -> None:
        """`options`: more of mariadbd's, as '--max-connections=5'. Commits reach the kernel, and
        thus survive kill -9, but not the disk."""
        super().__init__()
        self._options = options
        self._data = self.directory / 'data'
        self.once(
            'mariadb-install-db', '--no-defaults', f'--datadir={self._data}', '--skip-test-db',
            '--auth-root-authentication-method=normal', '--innodb-flush-method=nosync', '--innodb-log-file-size=8M',
            '--debug-no-sync',
        )  # fmt: skip
        first = self.directory / 'first.sql'
        first.write_text(
            f"CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION;\n"
        )
        first.chmod(0o644)

    def command(self) -> list[str]:
        return [
            'mariadbd', '--no-defaults', f'--datadir={self._data}', f'--socket={self.directory}/socket',
            f'--pid-file={self.directory}/pid', '--bind-address=127.0.0.1', f'--port={self.port}',
            f'--init-file={self.directory}/first.sql', '--innodb-flush-log-at-trx-commit=2', '--sync-binlog=0',
            '--innodb-flush-method=nosync', '--innodb-buffer-pool-size=32M', '--innodb-log-file-size=8M',
            '--skip-name-resolve', '--character-set-server=latin1', '--performance-schema=off',
            '--max-allowed-packet=64M', '--debug-no-sync', *self._options,
        ]  # fmt: skip

    def answers(self) -> bool:
        if is_free(self.port):  # the error of the driver takes it a hundred times as long
            return False
        try:
            self.ask('SELECT 1')
        except pymysql.OperationalError:
            return False
        return True

    def freeze(self) -> None:
        """As Daemon's, and wait until no thread runs: on a busy machine, some still answer after the signal."""
        super().freeze()
        until(lambda: all(state == 'T' for state in _thread_states(self.pids()[0])), 'the end of its threads')

    def ask(self, statement: str, database: str | None = None) -> Sequence[tuple[object, ...]]:
        """One statement by the administrator, by itself; its rows."""
        with self._administrator(database) as run:
            return run(statement)

    @contextmanager
    def _administrator(self, database: str | None) -> Iterator[Callable[[str], Sequence[tuple[object, ...]]]]:
        """What runs a statement, all on one connection."""
        connection = pymysql.connect(
            host='127.0.0.1', port=self.port, user='admin', password=PASSWORD, database=database, connect_timeout=60,
            read_timeout=120, autocommit=True, ssl_disabled=True,
        )  # fmt: skip

        def run(statement: str) -> Sequence[tuple[object, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return tuple(cursor.fetchall())

        try:
            yield run
        finally:
            connection.close()

    def fresh(self, template: str = '') -> str:
        """The URL of a database that nobody has used. Its defaults are as wrong for us as they may be. `template`: a
        database whose tables it gets."""
        name = f'odb{next(_numbers)}'
        self.ask(f'CREATE DATABASE {name} CHARACTER SET latin1')
        if template:
            with self._administrator(name) as run:
                run('SET foreign_key_checks = 0')
                for (table,) in run(f'SHOW TABLES FROM {template}'):
                    ((_, made),) = run(f'SHOW CREATE TABLE {template}.{table}')
                    run(str(made))
                    run(f'INSERT INTO {table} SELECT * FROM {template}.{table}')
        return self.url(name)

    def url(self, database: str, user: str = 'admin', password: str = PASSWORD) -> str:
        return f'mysql+pymysql://{user}:{password}@127.0.0.1:{self.port}/{database}'


_shared: list[MariaDB] = []


def shared() -> MariaDB:
    """The one that all tests of this process use; it runs."""
    if not _shared:
        server = MariaDB()
        atexit.register(server.close)
        server.start()
        _shared.append(server)
    return _shared[0]
