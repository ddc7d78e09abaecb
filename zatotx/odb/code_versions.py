"""Stores the versions of deployed files, which version is active, and the services that the active version defines.

As in Zato, a service whose file no longer defines it keeps its row: channels may refer to it, and the next file that
defines a service of that name takes it over. Its `file` is then '', and requests for it fail for lack of code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, delete, insert, select, update

from zatotx.interfaces.config import FileVersion
from zatotx.model.errors import Conflict, NotFound
from zatotx.odb.configuration_history import HistoryEntry, record_history
from zatotx.odb.mutations import apply_operations
from zatotx.odb.struct_conversion import Document, decode_document
from zatotx.odb.tables import config_object, file_version, hash_name, version_verdict
from zatotx.odb.transaction import ClusterContext, Transaction, increment_revision, split_into_chunks
from zatotx.schema.service_config import SERVICE
from zatotx.schema.snapshot import Operation
from zatotx.schema.type_registry import namespace_of

MAX_VERSIONS = 20  # versions kept per file

_f = file_version.c
_COLUMNS_WITHOUT_CONTENT = [column for column in file_version.c if column.name != 'content']


@frozen(kw_only=True)
class NewFileVersion:
    """A validated version of a file that is to be deployed."""

    file: str
    form: str  # 'module' or 'package'
    content: bytes
    services: Sequence[str]


def add_version(t: Transaction, new: NewFileVersion) -> FileVersion:
    """Store and activate a version, together with its service rows. If the content equals that of the active version,
    return the active version and change nothing. Raises Conflict if a service belongs to another file."""
    kept = _versions(t.connection, t.cluster, new.file)
    active = next((v for v in kept if v.active), None)
    digest = sha256(new.content).hexdigest()
    if active is not None and (active.sha256, active.form) == (digest, new.form):
        return active
    _require_available(t, new.file, new.services)
    number = max((v.number for v in kept), default=0) + 1
    t.connection.execute(insert(file_version).values(_row_values(t, new, digest, number)))
    added = _activate(t, new.file, number)
    _prune(t, new.file)
    record_history(
        t,
        [
            HistoryEntry(
                action='deploy', type='file', name=new.file, old=_history_fields(active), new=_history_fields(added)
            )
        ],
    )
    return added


def activate_version(t: Transaction, file: str, number: int | None) -> FileVersion:
    """Activate version `number` of a file, or the version before the active one if `number` is None. Raises NotFound,
    whose message lists the stored versions, or Conflict if one of the services now belongs to another file."""
    kept = _versions(t.connection, t.cluster, file)
    active = next((v for v in kept if v.active), None)
    selected = _select_version(file, kept, number)
    if selected.active:
        return selected
    _require_available(t, file, selected.services)
    activated = _activate(t, file, selected.number)
    record_history(
        t,
        [
            HistoryEntry(
                action='activate', type='file', name=file, old=_history_fields(active), new=_history_fields(activated)
            )
        ],
    )
    return activated


def list_versions(connection: Connection, cluster: ClusterContext, file: str | None) -> list[FileVersion]:
    """Return the stored versions, ordered by file and number."""
    return _versions(connection, cluster, file)


def version_content(connection: Connection, cluster: ClusterContext, version_id: int) -> bytes:
    """Return the content of a version. Raises NotFound."""
    stored = connection.execute(
        select(_f.content).where(_f.id == version_id, _f.cluster_id == cluster.id)
    ).scalar_one_or_none()
    if stored is None:
        raise NotFound(None, f'there is no kept version with the id {version_id}')
    return bytes(stored)


def version_contents(
    connection: Connection, cluster: ClusterContext, version_ids: Sequence[int]
) -> Mapping[int, bytes]:
    """Return the contents of the stored ones among the versions, by id."""
    query = select(_f.id, _f.content).where(_f.id.in_(version_ids), _f.cluster_id == cluster.id)
    return {version_id: bytes(content) for version_id, content in connection.execute(query)}


def _versions(connection: Connection, cluster: ClusterContext, file: str | None) -> list[FileVersion]:
    query = select(*_COLUMNS_WITHOUT_CONTENT).where(_f.cluster_id == cluster.id)
    if file is not None:
        query = query.where(_f.file_key == hash_name(file))
    return sorted(map(_version, connection.execute(query)), key=lambda v: (v.file, v.number))


def _version(row: Any) -> FileVersion:
    return FileVersion(
        id=row.id,
        file=row.file,
        number=row.number,
        form=row.form,
        sha256=row.sha256,
        created=row.created,
        by=row.by,
        active=row.active,
        services=msgspec.json.decode(row.services, type=tuple[str, ...]),
        revision=row.revision,
    )


def _row_values(t: Transaction, new: NewFileVersion, digest: str, number: int) -> dict[str, Any]:
    return {
        'cluster_id': t.cluster.id,
        'file': new.file,
        'file_key': hash_name(new.file),
        'number': number,
        'form': new.form,
        'sha256': digest,
        'content': new.content,
        'created': t.cluster.now(),
        'by': t.actor.username,
        'active': False,
        'services': msgspec.json.encode(sorted(new.services)).decode('utf-8'),
        'revision': t.revision,
    }


def _activate(t: Transaction, file: str, number: int) -> FileVersion:
    """Mark one version of a file as active, and update the service rows."""
    increment_revision(t)
    of_file = (_f.cluster_id == t.cluster.id, _f.file_key == hash_name(file))
    t.connection.execute(update(file_version).where(*of_file).values(active=False))
    t.connection.execute(
        update(file_version).where(*of_file, _f.number == number).values(active=True, revision=t.revision)
    )
    active = next(v for v in _versions(t.connection, t.cluster, file) if v.active)
    apply_operations(t, list(_service_changes(t, active)))
    return active


def _select_version(file: str, kept: Sequence[FileVersion], number: int | None) -> FileVersion:
    if not kept:
        raise NotFound(None, f'no version of {file!r} is kept: it was never deployed')
    numbers = ', '.join(str(v.number) for v in kept)
    if number is None:
        active = next((v.number for v in kept if v.active), 0)
        earlier = [v for v in kept if v.number < active]
        if not earlier:
            raise NotFound(None, f'{file!r} has no version before the active {active}; kept: {numbers}')
        return earlier[-1]
    for version in kept:
        if version.number == number:
            return version
    raise NotFound(None, f'{file!r} has no version {number}; kept: {numbers}')


def _prune(t: Transaction, file: str) -> None:
    old = [v.id for v in _versions(t.connection, t.cluster, file) if not v.active][: -MAX_VERSIONS + 1]
    for chunk in split_into_chunks(old):
        t.connection.execute(delete(version_verdict).where(version_verdict.c.version_id.in_(chunk)))
        t.connection.execute(delete(file_version).where(_f.id.in_(chunk)))


def _require_available(t: Transaction, file: str, services: Sequence[str]) -> None:
    rows = [decode_document(row.document) for row in _service_rows(t, services)]
    unavailable = [r for r in rows if r['is_internal'] or (r['file'] not in ('', file) and _is_deployed(t, r))]
    if unavailable:
        raise Conflict(None, '; '.join(_describe_owner(row) for row in unavailable))


def _describe_owner(row: Document) -> str:
    if row['is_internal']:
        return f"service {row['name']!r} is one of the broker's own"
    return f'service {row["name"]!r} belongs to the deployed file {row["file"]!r}'


def _is_deployed(t: Transaction, row: Document) -> bool:
    """Return whether the file in the service's row really defines the service."""
    kept = _versions(t.connection, t.cluster, row['file'])
    return any(v.active and row['name'] in v.services for v in kept)


def _service_changes(t: Transaction, version: FileVersion) -> Iterable[Operation]:
    rows = {row.name: row for row in _service_rows(t, version.services)}
    for name in version.services:
        row = rows.get(name)
        if row is None:
            yield _service_operation('create', name, None, version.file)
        elif decode_document(row.document)['file'] != version.file:
            yield _service_operation('edit', name, row.id, version.file)
    for name, object_id in _removed_services(t, version):
        yield _service_operation('edit', name, object_id, '')


def _service_operation(action: str, name: str, object_id: int | None, file: str) -> Operation:
    fields = {'name': name, 'file': file} if action == 'create' else {'file': file}
    return Operation(action=action, type=SERVICE.key, name=name, id=object_id, fields=fields)


def _removed_services(t: Transaction, version: FileVersion) -> Iterable[tuple[str, int]]:
    """Yield services that earlier versions of the file defined and this one does not."""
    earlier = {name for v in _versions(t.connection, t.cluster, version.file) for name in v.services}
    for row in _service_rows(t, sorted(earlier - set(version.services))):
        if decode_document(row.document)['file'] == version.file:
            yield row.name, row.id


def _service_rows(t: Transaction, names: Sequence[str]) -> Iterable[Any]:
    c = config_object.c
    for chunk in split_into_chunks([hash_name(name) for name in names]):
        yield from t.connection.execute(
            select(c.id, c.name, c.document).where(
                c.cluster_id == t.cluster.id, c.space == namespace_of(SERVICE), c.name_key.in_(chunk)
            )
        )


def _history_fields(version: FileVersion | None) -> Document:
    """Return the fields of a version that the history records."""
    if version is None:
        return {}
    return {'number': version.number, 'sha256': version.sha256, 'services': list(version.services)}
