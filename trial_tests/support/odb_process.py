"""What tests of the ODB run in processes of their own, to kill them: `python -m trial_tests.support.odb_process`, or
`Forked`, which needs no imports.

Says `ready` on its standard output where the test waits for it, then stays there.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection

from sqlalchemy import Engine, event

from trial_tests.support.odb import CLUSTER, ME, TYPES, channel, service, user
from zatotx.model.errors import ServiceUnavailable
from zatotx.odb import offline_operations
from zatotx.odb.database_executor import CancellableCall
from zatotx.odb.mutations import apply_operations
from zatotx.odb.offline_operations import NewCluster, create_odb, open_database, write_operations
from zatotx.odb.transaction import begin_transaction

MANY = 3_000


def stay(word: str = 'ready') -> None:
    print(word, flush=True)
    time.sleep(60)


def pausing(at: int) -> Callable[[], None]:
    """A `moved` that stops at its `at`th call."""
    left = [at]

    def moved() -> None:
        left[0] -= 1
        if left[0] == 0:
            stay()

    return moved


def write_many(url: str, key: str, at: str) -> None:
    """Write MANY channels; stop at that step of the transaction, or right after its commit (`end`)."""
    database = open_database(url, key, cluster=CLUSTER, types=TYPES)
    operations = [channel(f'c{number}') for number in range(MANY)]
    moved = (lambda: None) if at == 'end' else pausing(int(at))
    database.write(
        CancellableCall(),
        lambda connection, found: apply_operations(begin_transaction(connection, found, ME, moved), operations),
    )
    stay()


def make(url: str, key: str, table: str) -> None:
    """Make an ODB; stop before the migration makes that table."""
    stay_before(table)
    create_odb(url, key, NewCluster(name=CLUSTER), types=TYPES)


def upgrade_until(url: str, key: str, step: str) -> None:
    """Upgrade an ODB; stop before that statement of those that change something (0: never), or say how it ended."""
    left = [int(step)]

    def before(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.split()[0] in ('ALTER', 'CREATE', 'DROP', 'INSERT', 'UPDATE', 'DELETE'):
            left[0] -= 1
            if left[0] == 0:
                stay()

    event.listen(Engine, 'before_cursor_execute', before)
    print('done' if offline_operations.upgrade_odb(url) else 'nothing to do', flush=True)


def fill(url: str, key: str, _: str = '') -> str:
    """Make an ODB, and write until there is no room: says what is said then. Reading must go on."""
    create_odb(url, key, NewCluster(name=CLUSTER, operations=(user('first', ''),)), types=TYPES)
    database = open_database(url, key, cluster=CLUSTER, types=TYPES)
    letters = ''.join(map(chr, range(0x4E00, 0x4E00 + 16384)))
    try:
        for number in range(2000):
            filling = ''.join(letters[number % 97 :: 3] for _ in range(40))  # does not compress to nothing
            write_operations(database, [service(f's{number}', impl_name=filling)], ME)
    except ServiceUnavailable as error:
        assert offline_operations.read_snapshot(database).find('basic_auth', 'first')
        return str(error)
    finally:
        database.close()
    raise AssertionError('it was never full')


def write_one(url: str, key: str, _: str) -> str:
    """Read, then write one user: says what is said against it."""
    database = open_database(url, key, cluster=CLUSTER, types=TYPES)
    read = len(offline_operations.read_snapshot(database))
    try:
        write_operations(database, [user('one', '')], ME)
    except ServiceUnavailable as error:
        return f'{read} objects. {error}'
    return 'written'


def stay_before(table: str) -> None:
    def before(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if f'CREATE TABLE {table}' in statement:
            stay()

    event.listen(Engine, 'before_cursor_execute', before)


def write_one_by_one(url: str, key: str, count: str) -> None:
    """Write that many users, a transaction each, as fast as it goes."""
    database = open_database(url, key, cluster=CLUSTER, types=TYPES)
    for number in range(int(count)):
        write_operations(database, [user(f'{os.getpid()}.{number}', '')], ME)


COMMANDS: dict[str, Callable[..., str | None]] = {
    f.__name__: f for f in (write_many, make, upgrade_until, write_one_by_one, write_one, fill)
}
_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(['alembic.command', __name__])


class Forked:
    """A command in a process that is forked from one that has imported all of this: many processes cost the imports of
    one."""

    def __init__(self, command: str, *arguments: str) -> None:
        _start_fork_server()
        words, said = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_run_forked, args=(said, command, arguments), daemon=True)
        self._process.start()
        said.close()
        self._words = os.fdopen(os.dup(words.fileno()), encoding='utf-8')
        words.close()

    def word(self) -> str:
        """The next line that it says; '' if it has ended."""
        return self._words.readline().strip()

    def kill(self) -> None:
        """kill -9; harmless if it has ended."""
        self._process.kill()

    def wait(self) -> int | None:
        """Its exit code when it has ended."""
        self._process.join()
        return self._process.exitcode

    def close(self) -> None:
        """End it."""
        self.kill()
        self.wait()
        self._words.close()


def _start_fork_server() -> None:
    """It takes what it imports from PYTHONPATH: the working directory of tests is another one."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ['PYTHONPATH']
        if before is not None:
            os.environ['PYTHONPATH'] = before


def _run_forked(said: Connection, command: str, arguments: tuple[str, ...]) -> None:
    with os.fdopen(os.dup(said.fileno()), 'w', encoding='utf-8') as sys.stdout:
        COMMANDS[command](*arguments)


if __name__ == '__main__':
    if said := COMMANDS[sys.argv[1]](*sys.argv[2:]):
        print(said, flush=True)
