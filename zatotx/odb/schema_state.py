"""Whether the tables of an ODB are those this version works with. Needs no alembic, so a node can ask at its start."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Connection, inspect, text

from zatotx.model.faults import ServiceUnavailable
from zatotx.odb.tables import SCHEMA
from zatotx.odb.urls import masked

State = Literal['current', 'older', 'newer', 'empty']


def state_of(connection: Connection) -> State:
    """How the ODB's schema stands to SCHEMA. Migrations are numbered, so numbers tell older from newer."""
    if not inspect(connection).has_table('alembic_version'):
        return 'empty'
    found = connection.execute(text('SELECT version_num FROM alembic_version')).scalar()
    if found is None:
        return 'empty'
    if found == SCHEMA:
        return 'current'
    return 'older' if found < SCHEMA else 'newer'


def require_current(connection: Connection, url: str) -> None:
    """Raises ServiceUnavailable, with what to do, where the schema is another one."""
    said = {
        'empty': 'is empty: make it with `zatotx quickstart create` or `zatotx create odb`',
        'older': 'is of an older version of zatotx: stop all servers and run `zatotx odb upgrade`',
        'newer': 'is of a newer version of zatotx than this one: upgrade zatotx on this server',
    }
    state = state_of(connection)
    if state != 'current':
        raise ServiceUnavailable(None, f'The ODB ({masked(url)}) {said[state]}')
