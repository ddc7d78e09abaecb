"""Whether the tables of an ODB are those this version works with. Needs no alembic, so a node can ask at its start."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, inspect, text

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.tables import SCHEMA, metadata
from zatotx.odb.urls import mask_password

State = Literal['current', 'older', 'newer', 'empty', 'foreign']

VERSION = 'alembic_version'
SAID = {
    'empty': 'is empty: make it with `zatotx quickstart create`',
    'older': 'is of an older version of zatotx: stop all servers and run `zatotx odb upgrade`',
    'newer': 'is of a newer version of zatotx than this one: upgrade zatotx on this server',
    'foreign': 'has tables of another program: zatotx needs a database of its own, an empty one to begin with',
}


def state_of(connection: Connection) -> State:
    """How the ODB's schema stands to SCHEMA. Migrations are numbered, so numbers tell older from newer."""
    tables = set(inspect(connection).get_table_names())
    if VERSION not in tables:
        return 'foreign' if tables else 'empty'
    found = connection.execute(text('SELECT version_num FROM alembic_version')).scalar()
    if found is None:
        # On MariaDB, a migration that was killed leaves its first tables: it begins by making alembic_version.
        return 'empty' if tables <= {VERSION, *metadata.tables} else 'foreign'
    if not (len(found) == len(SCHEMA) and found.isdigit()):
        return 'foreign'
    if found == SCHEMA:
        return 'current'
    return 'older' if found < SCHEMA else 'newer'


def require_current(connection: Connection, url: str) -> None:
    """Raises ServiceUnavailable, with what to do, where the schema is another one."""
    state = state_of(connection)
    if state != 'current':
        raise ServiceUnavailable(None, f'The ODB ({mask_password(url)}) {SAID[state]}')
