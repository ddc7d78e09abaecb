"""What tests of the ODB run in processes of their own, to kill them: `python -m trial_tests.support.odb_process`.

Says `ready` on its standard output where the test waits for it, then stays there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module

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


def upgrades(url: str, key: str, _: str) -> None:
    """As `upgrade_until` for each step that standard input brings, a line each, in a child that is forked for it: many
    cost the imports of one. Its pid comes before what it says; `over` when it has ended."""
    import_module('alembic.command')
    for step in sys.stdin:
        child = os.fork()
        if not child:
            print(os.getpid(), end=' ')
            upgrade_until(url, key, step)
            os._exit(0)
        os.waitpid(child, 0)
        print('over', flush=True)


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


if __name__ == '__main__':
    commands: dict[str, Callable[..., str | None]] = {
        f.__name__: f for f in (write_many, make, upgrade_until, upgrades, write_one_by_one, write_one, fill)
    }
    if said := commands[sys.argv[1]](*sys.argv[2:]):
        print(said, flush=True)
