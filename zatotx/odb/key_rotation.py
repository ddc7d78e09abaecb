"""A cluster's secrets, encrypted anew with the first key. Plain functions, no reactor: for the command line.

Whoever writes secrets uses the first key there is at the moment of its transaction (writing.py), so once every process
can see the new key, one pass over the rows finds all that the old one encrypted. It goes in steps, each under the
cluster's lock and short, and may be ended and begun again at any of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, or_, select, update

from zatotx.odb.database import Database
from zatotx.odb.documents import decode, encode
from zatotx.odb.executor import CancellableCall
from zatotx.odb.secrets import Secrets
from zatotx.odb.statement_context import Cluster, begin
from zatotx.odb.tables import cluster, config_object, object_version
from zatotx.schema.snapshot import Actor

ROWS = 500  # in one transaction
DOCUMENTS = (config_object, object_version)  # the tables that hold stored secrets

_ACTOR = Actor('zatotx', 'crypto rotate-key')


def rotate(database: Database) -> int:
    """Encrypt with the first key what another key of ours encrypted; how many documents that were. Raises faults.

    Secrets are known by their form and by our keys, not by the schema, so objects of kinds that are not installed here
    are not forgotten."""
    changed = sum(_table(database, table) for table in DOCUMENTS)
    database.write(CancellableCall(), _key_check)
    return changed


def _table(database: Database, table: Table) -> int:
    changed = 0
    last: tuple[Any, ...] | None = None
    while True:
        found, last = database.write(CancellableCall(), partial(_step, table=table, after=last))
        changed += found
        if last is None:
            return changed


def _step(
    connection: Connection, of: Cluster, *, table: Table, after: tuple[Any, ...] | None
) -> tuple[int, tuple[Any, ...] | None]:
    """The next ROWS rows: how many were changed, and the key of the last one; None where there are no more."""
    begin(connection, of, _ACTOR, lambda: None)
    keys = list(table.primary_key.columns)
    rows = connection.execute(_next(table, of.id, after)).all()
    changed = 0
    for row in rows:
        document = decode(row.document)
        new = renewed(document, of.secrets)
        if new != document:
            mine = and_(*(key == row[number] for number, key in enumerate(keys)))
            connection.execute(update(table).where(mine).values(document=encode(new)))
            changed += 1
    return changed, tuple(rows[-1][: len(keys)]) if len(rows) == ROWS else None


def _next(table: Table, cluster_id: int, after: tuple[Any, ...] | None) -> Select[Any]:
    keys = list(table.primary_key.columns)
    chosen = select(*keys, table.c.document).where(table.c.cluster_id == cluster_id).order_by(*keys).limit(ROWS)
    if after is None:
        return chosen
    # Row values, written out: not every database compares (a, b) > (x, y).
    beyond = [
        and_(*(keys[i] == after[i] for i in range(number)), key > after[number]) for number, key in enumerate(keys)
    ]
    return chosen.where(or_(*beyond))


def renewed(value: Any, secrets: Secrets) -> Any:
    """The value with everything in it that another key of ours encrypted in the form that the first key gives it."""
    if isinstance(value, str):
        return secrets.renewed(value)
    if isinstance(value, list):
        return [renewed(each, secrets) for each in value]
    if isinstance(value, dict):
        return {name: renewed(each, secrets) for name, each in value.items()}
    return value


def _key_check(connection: Connection, of: Cluster) -> None:
    begin(connection, of, _ACTOR, lambda: None)
    stored = connection.execute(select(cluster.c.key_check).where(cluster.c.id == of.id)).scalar_one()
    connection.execute(update(cluster).where(cluster.c.id == of.id).values(key_check=of.secrets.renewed(stored)))
