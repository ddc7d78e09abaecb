"""Creates and maintains an ODB, for commands that run without a server. The functions block.

All errors are those of zatotx.model.errors, or a ValueError whose text is a sentence for the user.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import Factory, frozen
from sqlalchemy import Connection, Engine, delete, insert, select, text

from zatotx.model.errors import Conflict, NotFound, ServiceUnavailable
from zatotx.odb import revisions
from zatotx.odb.database import Database, map_database_errors
from zatotx.odb.database_executor import CancellableCall
from zatotx.odb.engine_factory import dialect_of, make_engine
from zatotx.odb.engines.dialect import Dialect
from zatotx.odb.engines.sqlite import create_database_file
from zatotx.odb.mutations import OBJECT_ID_COUNTER, apply_operations
from zatotx.odb.nodes import NodeAddress, add_node
from zatotx.odb.odb_urls import sqlite_path
from zatotx.odb.revisions import snapshot_at
from zatotx.odb.schema_state import VERSION_TABLE, State, require_usable_schema, schema_state_of
from zatotx.odb.secrets import Secrets
from zatotx.odb.struct_conversion import protect_secrets
from zatotx.odb.tables import COMPATIBLE_SINCE, COMPATIBLE_SINCE_COUNTER, cluster, counter, hash_name
from zatotx.odb.transaction import begin_transaction, find_cluster
from zatotx.rules.enmasse.restore_plan import describe_restore_step, plan_restore, restore_steps_to_operations
from zatotx.schema.meta import secret_fields
from zatotx.schema.snapshot import Actor, Operation, Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.wire.url_masking import mask_url

SCRIPT_LOCATION = 'zatotx.odb:migrations'  # works in an installed wheel, too


def upgrade_schema(connection: Connection, dialect: Dialect, url: str, *, is_new: bool) -> bool:
    """Upgrade the tables to this version in the connection's transaction, and return whether anything was changed. If
    `is_new` is true, the tables are created; otherwise the tables of an existing ODB are upgraded. Concurrent upgrades
    are serialized. Raises ServiceUnavailable if the schema is in another state."""
    dialect.lock_schema(connection)
    state = schema_state_of(connection)
    is_needed = _is_unused(connection, state) if is_new else state == 'older'
    if is_needed:
        _migrate(connection)
    require_usable_schema(connection, url)
    return is_needed


def _is_unused(connection: Connection, state: State) -> bool:
    """Return whether the ODB is empty, or was left incomplete by an interrupted creation."""
    return state == 'empty' or (state == 'older' and not connection.execute(select(cluster.c.id)).first())


def _migrate(connection: Connection) -> None:
    """Run alembic. It is imported here because nodes do not need it, and the import is slow."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option('script_location', SCRIPT_LOCATION)
    config.attributes['connection'] = connection
    command.upgrade(config, 'head')
    version = connection.execute(text(f'SELECT version_num FROM {VERSION_TABLE}')).scalar()  # noqa: S608
    name = COMPATIBLE_SINCE_COUNTER.format(version)
    connection.execute(delete(counter).where(counter.c.name == name))
    connection.execute(insert(counter).values(name=name, value=int(COMPATIBLE_SINCE)))


@frozen(kw_only=True)
class NewCluster:
    """The initial content of a new cluster."""

    name: str
    nodes: tuple[NodeAddress, ...] = ()
    operations: tuple[Operation, ...] = ()  # creations, with secrets in clear text
    actor: Actor = Factory(lambda: Actor('zatotx', 'quickstart'))


def open_database(url: str, key: str, *, cluster: str, types: ObjectTypeRegistry) -> Database:
    """Open the ODB for a command, which must close the ODB afterwards. Raises ValueError for an unusable URL or key."""
    return Database(url=url, cluster=cluster, types=types, secrets=Secrets(key))


def create_odb(url: str, key: str, new: NewCluster, *, types: ObjectTypeRegistry, is_exclusive: bool = False) -> None:
    """Create the tables, the cluster, its nodes and its first objects. An SQLite file is created. A database on a
    server must exist, and must be empty or have the schema of this version. In the latter case the cluster is added,
    unless `is_exclusive` is true. An interrupted creation can be repeated. Raises Conflict if the cluster exists, and
    ServiceUnavailable for an unusable database."""
    secrets = Secrets(key)
    prepared = protect_secrets(types, secrets, new.operations, lambda: None)
    is_new_file = _create_file(url)
    try:
        with _migration_connection(url) as connection:
            upgrade_schema(connection, dialect_of(url), url, is_new=True)
            _add_cluster(connection, new.name, secrets, url, is_exclusive=is_exclusive)
            cluster_ = find_cluster(connection, new.name, types, secrets)
            for address in new.nodes:
                add_node(connection, cluster_, address)
            apply_operations(begin_transaction(connection, cluster_, new.actor, lambda: None), prepared)
    except BaseException:
        if is_new_file:
            _remove_files(url)
        raise


def create_tables(url: str) -> bool:
    """Create the tables of an ODB, and return False if the database already has the tables of this version. An SQLite
    file is created. Raises ServiceUnavailable for an unusable database."""
    is_new_file = _create_file(url)
    try:
        with _migration_connection(url) as connection:
            return upgrade_schema(connection, dialect_of(url), url, is_new=True)
    except BaseException:
        if is_new_file:
            _remove_files(url)
        raise


def inspect_schema_state(url: str) -> State:
    """Return the state of a database's schema: 'current', 'older' (needs an upgrade), 'newer' (than this version of
    zatotx), 'compatible' (newer, but usable), 'empty' or 'foreign'. Raises ServiceUnavailable if there is no
    database."""
    with map_database_errors(url), _engine(url) as engine, engine.connect() as connection:
        return schema_state_of(connection)


def needs_stopped_nodes(url: str) -> bool:
    """Return whether an upgrade requires that the nodes are stopped, because nodes of the present version cannot use
    the schema of this version. Raises ServiceUnavailable if there is no database."""
    with map_database_errors(url), _engine(url) as engine, engine.connect() as connection:
        version = connection.execute(text(f'SELECT version_num FROM {VERSION_TABLE}')).scalar()  # noqa: S608
        return version is None or version < COMPATIBLE_SINCE


def upgrade_odb(url: str) -> bool:
    """Upgrade the tables to this version, and return whether anything was changed. Runs in one transaction if the
    database supports transactional DDL; otherwise the next upgrade completes an interrupted one. Raises
    ServiceUnavailable for an ODB that is empty or of a newer version."""
    with _migration_connection(url) as connection:
        return upgrade_schema(connection, dialect_of(url), url, is_new=False)


def read_snapshot(database: Database) -> Snapshot:
    """Return the current objects of the cluster."""
    report_progress = CancellableCall().report_progress  # progress is not monitored
    return Snapshot().apply_changes(
        database.read(lambda connection, found: revisions.changes_since(connection, found, 0, report_progress))
    )


def read_snapshot_at(database: Database, revision: int) -> Snapshot:
    """Return the cluster's objects at a revision. Raises NotFound if the revision is no longer stored."""
    return database.read(lambda connection, found: snapshot_at(connection, found, revision))


def write_operations(database: Database, change: Sequence[Operation], actor: Actor) -> int:
    """Apply the operations in one transaction and return the new revision. Raises the errors of IConfigStore.write."""
    prepared = protect_secrets(database.types, database.secrets, change, lambda: None)

    call = CancellableCall()
    return database.write(
        call,
        lambda connection, found: apply_operations(
            begin_transaction(connection, found, actor, call.report_progress), prepared
        ),
    )


@frozen
class ConfigurationRestoreResult:
    """The result of restoring the configuration of a revision, or of a dry run."""

    revision: int  # the new revision, or the present one if nothing changed
    lines: tuple[str, ...]  # the differences, with masked secrets


def restore_revision(
    database: Database, revision: int, actor: Actor, *, dry_run: bool = False
) -> ConfigurationRestoreResult:
    """Restore the objects of a revision in one transaction, as a new revision. Raises NotFound for a revision that is
    not stored, and Conflict if the same objects are changed concurrently."""
    target = read_snapshot_at(database, revision)
    current = read_snapshot(database)
    steps = plan_restore(current, target, database.types)
    lines = tuple(line for step in steps for line in describe_restore_step(step, database.types))
    if dry_run or not steps:
        return ConfigurationRestoreResult(current.revision, lines)
    return ConfigurationRestoreResult(write_operations(database, restore_steps_to_operations(steps), actor), lines)


def set_object_password(database: Database, name: str, password: str, actor: Actor) -> int:
    """Set the `password` of the object with the given name. Raises NotFound, or Conflict if several objects have the
    name."""
    matching = [
        o for o in read_snapshot(database) if o.name == name and 'password' in secret_fields(database.types[o.type])
    ]
    if not matching:
        raise NotFound(None, f'there is no object called {name!r} that has a password')
    if len(matching) > 1:
        types = ', '.join(sorted(o.type for o in matching))
        raise Conflict(None, f'several objects are called {name!r} and have a password: {types}')
    change = Operation(
        action='edit', type=matching[0].type, name=name, id=matching[0].id, fields={'password': password}
    )
    return write_operations(database, [change], actor)


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _migration_connection(url: str) -> Iterator[Connection]:
    with map_database_errors(url):
        engine = make_engine(url, 'migrate')
        try:
            with engine.connect() as connection, connection.begin():
                yield connection
        finally:
            engine.dispose()


def _create_file(url: str) -> bool:
    """Create the SQLite file; returns whether it was created."""
    path = sqlite_path(url)
    if path is None or Path(path).exists():
        return False
    try:
        create_database_file(path)
    except OSError as error:
        raise ServiceUnavailable(None, f'The ODB ({mask_url(url)}) cannot be created: {error.strerror}') from error
    return True


def _remove_files(url: str) -> None:
    for suffix in ('', '-wal', '-shm'):
        Path(f'{sqlite_path(url)}{suffix}').unlink(missing_ok=True)


def _add_cluster(connection: Connection, name: str, secrets: Secrets, url: str, *, is_exclusive: bool) -> None:
    names = connection.execute(select(cluster.c.name)).scalars().all()
    if name in names or (is_exclusive and names):
        raise Conflict(
            None, f'The ODB ({mask_url(url)}) has a cluster called {(names[0] if is_exclusive else name)!r} already'
        )
    if connection.execute(select(counter.c.name).where(counter.c.name == OBJECT_ID_COUNTER)).first() is None:
        connection.execute(insert(counter).values(name=OBJECT_ID_COUNTER, value=1))
    connection.execute(
        insert(cluster).values(
            name=name,
            name_key=hash_name(name),
            revision=0,
            created=time.time(),
            key_check=secrets.key_check(),
            kept_since=0,
        )
    )
