"""Schema upgrades with alembic. Only commands upgrade a schema, never a node."""

from __future__ import annotations

from sqlalchemy import Connection, select

from zatotx.odb.engines.dialect import Dialect
from zatotx.odb.schema_state import State, require_current_schema, schema_state_of
from zatotx.odb.tables import cluster

SCRIPT_LOCATION = 'zatotx.odb:migrations'  # works in an installed wheel, too


def upgrade_schema(connection: Connection, dialect: Dialect, url: str, *, is_new: bool) -> bool:
    """Upgrade the tables to this version in the connection's transaction; returns whether there was anything to do.
    With `is_new` the tables are created; otherwise those of an ODB in use are upgraded. Concurrent upgrades are
    serialized. Raises ServiceUnavailable if the schema is in another state."""
    dialect.lock_schema(connection)
    state = schema_state_of(connection)
    is_needed = _is_unused(connection, state) if is_new else state == 'older'
    if is_needed:
        _migrate(connection)
    require_current_schema(connection, url)
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
