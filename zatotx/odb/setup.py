"""Making and keeping an ODB, for commands that run without a server: plain functions, no reactor.

Whatever goes wrong is raised as a fault (zatotx.model.errors) or a ValueError whose text is a sentence for the user.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import Factory, frozen
from sqlalchemy import Connection, Engine, insert, select

from zatotx.model.errors import Conflict, NotFound, ServiceUnavailable
from zatotx.odb import queries
from zatotx.odb.database import Database, error_mapping
from zatotx.odb.documents import prepare
from zatotx.odb.engine import dialect_of, make_engine
from zatotx.odb.engines.sqlite import make_file
from zatotx.odb.executor import CancellableCall
from zatotx.odb.mutations import OBJECT_IDS, apply_operations
from zatotx.odb.nodes import Address, add_node
from zatotx.odb.revisions import state_at
from zatotx.odb.schema_state import State, state_of
from zatotx.odb.schema_upgrade import upgrade_schema
from zatotx.odb.secrets import Secrets
from zatotx.odb.statement_context import begin, find_cluster
from zatotx.odb.tables import cluster, counter, key_of
from zatotx.odb.urls import file_of, mask_password
from zatotx.rules.enmasse.plan_restore import operations, plan_restore, shown
from zatotx.schema.fields import secrets_of
from zatotx.schema.snapshot import Actor, Operation, Snapshot
from zatotx.schema.type_registry import ObjectTypes


@frozen(kw_only=True)
class NewCluster:
    """What a new ODB begins with."""

    name: str
    nodes: tuple[Address, ...] = ()
    operations: tuple[Operation, ...] = ()  # creations, secrets in clear
    actor: Actor = Factory(lambda: Actor('zatotx', 'quickstart'))


def open_database(url: str, key: str, *, cluster: str, types: ObjectTypes) -> Database:
    """The ODB for a command; close it after use. Raises ValueError for a URL or key that cannot be used."""
    return Database(url=url, cluster=cluster, types=types, secrets=Secrets(key))


def create(url: str, key: str, new: NewCluster, *, types: ObjectTypes, alone: bool = False) -> None:
    """Make tables, cluster, nodes and first objects. The database of a server must be there and empty; or of this
    version, where it gets a cluster more, unless it is to be `alone` in it. An SQLite file is made. What was killed in
    the middle of this can be done again. Raises Conflict where there is such a cluster, ServiceUnavailable for a
    database that cannot be used."""
    secrets = Secrets(key)
    first = prepare(types, secrets, new.operations, lambda: None)
    made = _make_file(url)
    try:
        with _migrating(url) as connection:
            upgrade_schema(connection, dialect_of(url), url, new=True)
            _add_cluster(connection, new.name, secrets, url, alone=alone)
            found = find_cluster(connection, new.name, types, secrets)
            for address in new.nodes:
                add_node(connection, found, address)
            apply_operations(begin(connection, found, new.actor, lambda: None), first)
    except BaseException:
        if made:
            _remove_files(url)
        raise


def schema_state(url: str) -> State:
    """'current', 'older' (upgrade), 'newer' (than this zatotx), 'empty' or 'foreign'. Raises ServiceUnavailable where
    there is no database."""
    with error_mapping(url), _engine(url) as engine, engine.connect() as connection:
        return state_of(connection)


def upgrade(url: str) -> bool:
    """Bring the tables to this version. Whether there was anything to do. In one transaction where the database has
    such; elsewhere what was killed in the middle is gone on with by the next upgrade. Raises ServiceUnavailable for an
    ODB that is empty or of a newer version."""
    with _migrating(url) as connection:
        return upgrade_schema(connection, dialect_of(url), url, new=False)


def snapshot(database: Database) -> Snapshot:
    """The cluster's objects as they are now."""
    moved = CancellableCall().moved  # nobody looks
    return Snapshot().evolve(database.read(lambda connection, found: queries.changes(connection, found, 0, moved)))


def schema_and_revision(database: Database, revision: int) -> Snapshot:
    """The cluster's objects as they were at that revision. Raises NotFound for one that is not kept."""
    return database.read(lambda connection, found: state_at(connection, found, revision))


def apply(database: Database, change: Sequence[Operation], actor: Actor) -> int:
    """Write it, all or nothing; gives the revision. Raises as IConfigStore.write."""
    ready = prepare(database.types, database.secrets, change, lambda: None)

    call = CancellableCall()
    return database.write(
        call, lambda connection, found: apply_operations(begin(connection, found, actor, call.moved), ready)
    )


@frozen
class Restored:
    """What a restore did, or would do."""

    revision: int  # the new one; the present one where nothing was to be done
    lines: tuple[str, ...]  # the difference, secrets masked


def restore(database: Database, revision: int, actor: Actor, *, dry_run: bool = False) -> Restored:
    """Bring the objects back to what they were at that revision, all or nothing, as a new revision. Raises NotFound for
    a revision that is not kept, Conflict where somebody changes the same meanwhile."""
    then = schema_and_revision(database, revision)
    now = snapshot(database)
    steps = plan_restore(now, then, database.types)
    lines = tuple(line for step in steps for line in shown(step, database.types))
    if dry_run or not steps:
        return Restored(now.revision, lines)
    return Restored(apply(database, operations(steps), actor), lines)


def set_password(database: Database, name: str, password: str, actor: Actor) -> int:
    """Give the object of that name whose type has a secret `password` a new one. Raises NotFound."""
    found = [o for o in snapshot(database) if o.name == name and 'password' in secrets_of(database.types[o.type])]
    if not found:
        raise NotFound(None, f'there is nothing called {name!r} that has a password')
    if len(found) > 1:
        what = ', '.join(sorted(o.type for o in found))
        raise Conflict(None, f'several objects are called {name!r} and have a password: {what}')
    change = Operation(action='edit', type=found[0].type, name=name, id=found[0].id, fields={'password': password})
    return apply(database, [change], actor)


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _migrating(url: str) -> Iterator[Connection]:
    with error_mapping(url):
        engine = make_engine(url, 'migrate')
        try:
            with engine.connect() as connection, connection.begin():
                yield connection
        finally:
            engine.dispose()


def _make_file(url: str) -> bool:
    """Whether the file had to be made."""
    path = file_of(url)
    if path is None or Path(path).exists():
        return False
    try:
        make_file(path)
    except OSError as error:
        raise ServiceUnavailable(None, f'The ODB ({mask_password(url)}) cannot be made: {error.strerror}') from error
    return True


def _remove_files(url: str) -> None:
    for suffix in ('', '-wal', '-shm'):
        Path(f'{file_of(url)}{suffix}').unlink(missing_ok=True)


def _add_cluster(connection: Connection, name: str, secrets: Secrets, url: str, *, alone: bool) -> None:
    found = connection.execute(select(cluster.c.name)).scalars().all()
    if name in found or (alone and found):
        raise Conflict(
            None, f'The ODB ({mask_password(url)}) has a cluster called {(found[0] if alone else name)!r} already'
        )
    if connection.execute(select(counter.c.name).where(counter.c.name == OBJECT_IDS)).first() is None:
        connection.execute(insert(counter).values(name=OBJECT_IDS, value=1))
    connection.execute(
        insert(cluster).values(
            name=name,
            name_key=key_of(name),
            revision=0,
            created=time.time(),
            key_check=secrets.key_check(),
            kept_since=0,
        )
    )
