"""Re-encrypts the secrets of a cluster with a new key. The functions block, and are used by the command line.

Every writer of secrets uses the first key present at the time of its transaction (mutations.py). Once all processes can
read the new key, one pass over the rows therefore finds everything that the old key encrypted. The pass consists of
short transactions, each under the cluster's lock, and may be interrupted and repeated.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, or_, select, update

from zatotx.odb.database import Database
from zatotx.odb.database_executor import CancellableCall
from zatotx.odb.secrets import Secrets
from zatotx.odb.struct_conversion import decode_document, encode_document
from zatotx.odb.tables import cluster, config_object, dead_letter, object_version
from zatotx.odb.transaction import ClusterContext, begin_transaction
from zatotx.schema.snapshot import Actor

BATCH_SIZE = 500  # rows per transaction
LETTERS = 50  # dead letters per transaction, whose documents may be large
SECRET_TABLES = (config_object, object_version)  # the tables that contain secrets

_ACTOR = Actor('zatotx', 'crypto rotate-key')


def rotate_key(database: Database) -> int:
    """Re-encrypt all secrets that are not encrypted with the first key, and return the number of changed documents.
    Raises errors of the data model.

    Secrets are recognized by their form and by the keys, not by the schema, so that objects of plugins that are not
    installed are included.
    """
    changed = sum(_rotate_table(database, table) for table in SECRET_TABLES) + _rotate_dead_letters(database)
    database.write(CancellableCall(), _renew_key_check)
    return changed


def _rotate_table(database: Database, table: Table) -> int:
    changed = 0
    last: tuple[Any, ...] | None = None
    while True:
        found, last = database.write(CancellableCall(), partial(_rotate_chunk, table=table, last_key=last))
        changed += found
        if last is None:
            return changed


def _rotate_chunk(
    connection: Connection, cluster_: ClusterContext, *, table: Table, last_key: tuple[Any, ...] | None
) -> tuple[int, tuple[Any, ...] | None]:
    """Re-encrypt the next ROWS rows. Returns how many were changed, and the key of the last row, None at the end."""
    begin_transaction(connection, cluster_, _ACTOR, lambda: None)
    keys = list(table.primary_key.columns)
    rows = connection.execute(_next_rows(table, cluster_.id, last_key)).all()
    changed = 0
    for row in rows:
        document = decode_document(row.document)
        re_encrypted = reencrypt_value(document, cluster_.secrets)
        if re_encrypted != document:
            of_row = and_(*(key == row[number] for number, key in enumerate(keys)))
            connection.execute(update(table).where(of_row).values(document=encode_document(re_encrypted)))
            changed += 1
    return changed, tuple(rows[-1][: len(keys)]) if len(rows) == BATCH_SIZE else None


def _rotate_dead_letters(database: Database) -> int:
    changed, last = 0, 0
    while True:
        found, last = database.write(CancellableCall(), partial(_rotate_letter_chunk, after=last))
        changed += found
        if not last:
            return changed


def _rotate_letter_chunk(connection: Connection, cluster_: ClusterContext, *, after: int) -> tuple[int, int]:
    """Re-encrypt the next dead letters, also those that a former version did not encrypt. Returns how many were
    changed, and the id of the last one, 0 at the end."""
    begin_transaction(connection, cluster_, _ACTOR, lambda: None)
    columns = dead_letter.c
    query = select(columns.id, columns.document).where(columns.cluster_id == cluster_.id, columns.id > after)
    rows = connection.execute(query.order_by(columns.id).limit(LETTERS)).all()
    changed = 0
    for row in rows:
        re_encrypted = cluster_.secrets.reencrypt_document(row.document)
        if re_encrypted != row.document:
            connection.execute(update(dead_letter).where(columns.id == row.id).values(document=re_encrypted))
            changed += 1
    return changed, rows[-1].id if len(rows) == LETTERS else 0


def _next_rows(table: Table, cluster_id: int, last_key: tuple[Any, ...] | None) -> Select[Any]:
    keys = list(table.primary_key.columns)
    query = select(*keys, table.c.document).where(table.c.cluster_id == cluster_id).order_by(*keys).limit(BATCH_SIZE)
    if last_key is None:
        return query
    # The comparison of row values, expanded: not every database supports (a, b) > (x, y).
    later = [
        and_(*(keys[i] == last_key[i] for i in range(number)), key > last_key[number])
        for number, key in enumerate(keys)
    ]
    return query.where(or_(*later))


def reencrypt_value(value: Any, secrets: Secrets) -> Any:
    """Return a JSON value in which every secret that was encrypted with another key is re-encrypted with the first
    key."""
    if isinstance(value, str):
        return secrets.reencrypt(value)
    if isinstance(value, list):
        return [reencrypt_value(item, secrets) for item in value]
    if isinstance(value, dict):
        return {name: reencrypt_value(item, secrets) for name, item in value.items()}
    return value


def _renew_key_check(connection: Connection, cluster_: ClusterContext) -> None:
    begin_transaction(connection, cluster_, _ACTOR, lambda: None)
    stored = connection.execute(select(cluster.c.key_check).where(cluster.c.id == cluster_.id)).scalar_one()
    connection.execute(
        update(cluster).where(cluster.c.id == cluster_.id).values(key_check=cluster_.secrets.reencrypt(stored))
    )
