"""zato.openapi.get: the OpenAPI document of the channels that this server serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, ClassVar

import msgspec

from zatotx.api.base import AdminService
from zatotx.rules.openapi.document import DocumentInfo, build_document
from zatotx.rules.openapi.model import Channel, SecuritySchemes
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Snapshot, Stored
from zatotx.schema.type_registry import ObjectTypes
from zatotx.service.entry import ServiceEntry
from zatotx.service.io.json_schema import service_shape

_REST = {'connection': 'channel', 'transport': 'plain_http'}  # Zato's words for channels that are told of
_SECURITY, _GROUPS = 'security', 'groups'
_SERVERS = b'"servers":[{"url":%s}]'  # as it stands in a document, ahead of what channels and services say
_SAYS = """Made by zatotx from the channels of cluster {cluster} and what their services declare.

Every answer carries X-Zato-CID, the id by which the log of the server knows the request; a caller may send its own in \
the same header (8 to 64 letters, digits, `.`, `_` and `-`)."""


class GetOpenAPI(AdminService):
    """The OpenAPI 3.1 document of all active channels whose services run here, as JSON."""

    name = 'zato.openapi.get'
    plain = True
    _latest: ClassVar[tuple[Any, bytes]] = (None, b'')  # what it was made of, and the document

    async def handle(self) -> None:
        server = self.server
        snapshot, services = server.config.snapshot, tuple(server.services.current)
        # What a document follows from: code can change without a revision, where a refused version is judged anew.
        made_of = server.cluster, snapshot.revision, tuple((one.file, one.version, one.is_active) for one in services)
        known, body = GetOpenAPI._latest
        if known != made_of:
            about = DocumentInfo(title=server.cluster, version=str(snapshot.revision),
                          description=_SAYS.format(cluster=server.cluster))
            body = await server.offload(_written, about, snapshot, server.types, services)
            GetOpenAPI._latest = made_of, body
        if public_url := self.request.http.public_url:
            body = body.replace(_SERVERS % b'"/"', _SERVERS % msgspec.json.encode(public_url), 1)
        self.response.payload = body
        self.response.content_type = 'application/json'


def documented_channels(snapshot: Snapshot, types: ObjectTypes, services: Iterable[ServiceEntry]) -> Iterator[Channel]:
    """The active REST channels whose services are there and active."""
    entries = {entry.name: entry for entry in services if entry.is_active}
    references = SnapshotReferences(snapshot, types)
    shape = cache(service_shape)  # several channels may lead to one service
    for object_type in filter(_is_rest, types):
        for stored in snapshot.of(object_type.key):
            value = stored.value
            entry = entries.get(value.service)
            if value.is_active and entry is not None:
                yield Channel(
                    name=value.name, path=value.url_path, service=shape(entry), method=value.method or '',
                    match_slash=value.match_slash, data_format=value.data_format,
                    merged=getattr(value, 'merge_url_params_req', True), server=value.public_url.rstrip('/'),
                    security=tuple(_guarded(value, snapshot, references)),
                    has_roles=bool(value.roles or entry.roles), is_limited=bool(value.rate_limits),
                    etag=getattr(value, 'etag', False),
                )  # fmt: skip


def _is_rest(object_type: ObjectType) -> bool:
    return object_type.zato is not None and _REST.items() <= object_type.zato.fixed.items()


def _guarded(channel: Any, snapshot: Snapshot, references: SnapshotReferences) -> Iterator[SecuritySchemes]:
    """The security definitions that let in."""
    groups = [snapshot.get(references.id_of(_GROUPS, name) or 0) for name in channel.groups]
    members = [member for group in groups if group is not None for member in group.value.members]
    for name in dict.fromkeys(([channel.security] if channel.security else []) + members):
        stored = snapshot.get(references.id_of(_SECURITY, name) or 0)
        if stored is not None:
            yield _told(stored)


def _told(stored: Stored) -> SecuritySchemes:
    value = stored.value
    place = field = ''
    if stored.type == 'apikey':
        place, field = ('query', value.query) if value.query else ('header', value.header)
    return SecuritySchemes(stored.name, stored.type, getattr(value, 'realm', '') or '', place, field)


def _written(about: DocumentInfo, snapshot: Snapshot, types: ObjectTypes, services: Iterable[ServiceEntry]) -> bytes:
    """In a thread: it describes every service."""
    return msgspec.json.encode(build_document(about, documented_channels(snapshot, types, services)))


SERVICES = (GetOpenAPI,)
