"""Compares the schema of an ODB with the schema that this version needs. The module works without alembic, so that
nodes can use it."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, inspect, select, text

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.tables import COMPATIBLE_SINCE_COUNTER, SCHEMA_VERSION, counter, metadata
from zatotx.wire.url_masking import mask_url

State = Literal['current', 'older', 'newer', 'compatible', 'empty', 'foreign']  # compatible: newer, but usable

VERSION_TABLE = 'alembic_version'
STATE_MESSAGES = {
    'empty': 'is empty: create it with `zatotx quickstart create`',
    'older': 'has the schema of an older version of zatotx: stop all servers and run `zatotx odb upgrade`',
    'newer': 'has the schema of a newer version of zatotx: upgrade zatotx on this server',
    'foreign': 'has tables of another program: zatotx needs an empty database of its own',
}


def schema_state_of(connection: Connection) -> State:
    """Return the state of the ODB's schema relative to SCHEMA_VERSION: 'current', 'older', 'newer', 'empty' or
    'foreign'."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        return 'foreign' if tables else 'empty'
    version = connection.execute(text('SELECT version_num FROM alembic_version')).scalar()
    if version is None:
        # On MariaDB, an interrupted migration leaves its first tables behind; it creates alembic_version first.
        return 'empty' if tables <= {VERSION_TABLE, *metadata.tables} else 'foreign'
    if not (len(version) == len(SCHEMA_VERSION) and version.isdigit()):
        return 'foreign'
    if version == SCHEMA_VERSION:
        return 'current'
    if version < SCHEMA_VERSION:
        return 'older'
    is_row = counter.c.name == COMPATIBLE_SINCE_COUNTER.format(version)
    since = connection.execute(select(counter.c.value).where(is_row)).scalar()
    return 'compatible' if since is not None and since <= int(SCHEMA_VERSION) else 'newer'


def require_usable_schema(connection: Connection, url: str) -> None:
    """Raise ServiceUnavailable, with instructions for the user, if this version cannot use the schema."""
    state = schema_state_of(connection)
    if state not in ('current', 'compatible'):
        raise ServiceUnavailable(None, f'The ODB ({mask_url(url)}) {STATE_MESSAGES[state]}')
