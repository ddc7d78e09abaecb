"""Stores dead letters in the ODB. Dead letters are messages whose processing failed permanently, with one row per
message ID. Their documents, which contain the payload and the headers, are encrypted with the secret key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from zatotx.interfaces.dead_letters import DeadLetterFilter
from zatotx.model.errors import NotFound
from zatotx.model.work_message import WorkMessage, decode_work, encode_work
from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import dead_letter, hash_name
from zatotx.odb.transaction import ClusterContext, split_into_chunks

_d = dead_letter.c


def store_dead_letter(connection: Connection, cluster: ClusterContext, message: WorkMessage) -> None:
    """Store a dead letter, or replace the stored dead letter with the same message ID."""
    # Serializes writers, as a message that another process gave up at the same time has no row to lock yet.
    connection.execute(select(cluster_table.c.id).where(cluster_table.c.id == cluster.id).with_for_update())
    if not _update(connection, cluster, message):
        row = {'cluster_id': cluster.id, 'message_id': message.id, 'message_key': hash_name(message.id)}
        connection.execute(insert(dead_letter).values(**row, **_columns(cluster, message)))


def edit_dead_letter(connection: Connection, cluster: ClusterContext, message: WorkMessage) -> None:
    """Replace the content of an existing dead letter. Raises NotFound."""
    if not _update(connection, cluster, message):
        raise NotFound(None, f'There is no dead letter {message.id!r}')


def list_dead_letters(connection: Connection, cluster: ClusterContext, which: DeadLetterFilter) -> list[WorkMessage]:
    """Return dead letters, with the most recent failures first."""
    if which.ids:
        chunks = split_into_chunks(which.ids)
        found = [one for ids in chunks for one in _select(connection, cluster, which, _has_id(ids))]
        found.sort(key=lambda message: message.last_failed, reverse=True)
        return found[: which.limit or None]
    return list(_select(connection, cluster, which))


def remove_dead_letters(connection: Connection, cluster: ClusterContext, messages: Sequence[WorkMessage]) -> int:
    """Remove dead letters, except those that have failed again since they were read. Return the number of removed dead
    letters."""
    removed = 0
    for message in messages:
        result = connection.execute(
            delete(dead_letter).where(*_is(cluster, message), _d.last_failed == message.last_failed)
        )
        removed += result.rowcount
    return removed


def count_dead_letters(connection: Connection, cluster: ClusterContext) -> int:
    """Return the number of dead letters."""
    query = select(func.count()).select_from(dead_letter).where(_d.cluster_id == cluster.id)
    count: int = connection.execute(query).scalar_one()
    return count


def _select(
    connection: Connection, cluster: ClusterContext, which: DeadLetterFilter, *conditions: ColumnElement[bool]
) -> Iterator[WorkMessage]:
    query = select(_d.message_id, _d.document).where(_d.cluster_id == cluster.id, *conditions)
    if which.service:
        query = query.where(_d.service_key == hash_name(which.service))
    query = query.order_by(_d.last_failed.desc(), _d.id.desc())
    if which.limit:
        query = query.limit(which.limit)
    for row in connection.execute(query):
        yield decode_work(cluster.secrets.decrypt_document(row.document), row.message_id)


def _update(connection: Connection, cluster: ClusterContext, message: WorkMessage) -> bool:
    found = connection.execute(select(_d.id).where(*_is(cluster, message))).scalar_one_or_none()
    if found is None:
        return False
    connection.execute(update(dead_letter).where(_d.id == found).values(**_columns(cluster, message)))
    return True


def _columns(cluster: ClusterContext, message: WorkMessage) -> dict[str, Any]:
    """Return the columns of a row, in a transaction that has locked the cluster: see key_rotation."""
    cluster.secrets.refresh()
    document = cluster.secrets.encrypt_document(encode_work(message))
    return {
        'service': message.service, 'service_key': hash_name(message.service), 'document': document,
        'last_failed': message.last_failed,
    }  # fmt: skip


def _is(cluster: ClusterContext, message: WorkMessage) -> tuple[ColumnElement[bool], ...]:
    return _d.cluster_id == cluster.id, _d.message_key == hash_name(message.id)


def _has_id(ids: Sequence[str]) -> ColumnElement[bool]:
    return _d.message_key.in_([hash_name(id_) for id_ in ids])
