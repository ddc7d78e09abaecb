"""Bringing tables up, step by step, by alembic. A node never does: only commands."""

from __future__ import annotations

from sqlalchemy import Connection, select

from zatotx.odb.engines.dialect import Dialect
from zatotx.odb.schema_state import State, require_current, state_of
from zatotx.odb.tables import cluster

SCRIPTS = 'zatotx.odb:migrations'  # found in an installed wheel too


def upgrade_schema(connection: Connection, room: Dialect, url: str, *, new: bool) -> bool:
    """Take the tables to this version, in the transaction of the connection; whether there was anything to do. `new`:
    from nothing; else those of an ODB that is in use. Of several at once one does it, and the others find it done.
    Raises ServiceUnavailable where the schema is in another state."""
    room.lock_schema(connection)
    state = state_of(connection)
    todo = _is_unused(connection, state) if new else state == 'older'
    if todo:
        _migrate(connection)
    require_current(connection, url)
    return todo


def _is_unused(connection: Connection, state: State) -> bool:
    """Also where all of it was made but the last steps, and then killed."""
    return state == 'empty' or (state == 'older' and not connection.execute(select(cluster.c.id)).first())


def _migrate(connection: Connection) -> None:
    """Alembic is imported here only: a node does not need it, and it takes its time."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option('script_location', SCRIPTS)
    config.attributes['connection'] = connection
    command.upgrade(config, 'head')
