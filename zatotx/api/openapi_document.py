"""Builds the OpenAPI document of the REST channels of a server. `openapi.py` imports it in a thread when a document is
requested, because most servers never build one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec

from zatotx.connectors.security_type_registry import find_security_types
from zatotx.rules.openapi.document_builder import DocumentInfo, build_document
from zatotx.rules.openapi.document_input import ChannelModel, ChannelSecurityDefinition
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.io.json_schema import openapi_service_shape
from zatotx.service.service_entry import ServiceEntry

_REST = {'connection': 'channel', 'transport': 'plain_http'}  # fixed fields of the channels that are documented
_SECURITY, _GROUPS = 'security', 'groups'
_DESCRIPTION = """Made by zatotx from the channels of cluster {cluster} and what their services declare.

Every answer carries X-Zato-CID, the id by which the log of the server knows the request; a caller may send its own in \
the same header (8 to 64 letters, digits, `.`, `_` and `-`)."""


def build_json(cluster: str, snapshot: Snapshot, types: ObjectTypeRegistry, services: Iterable[ServiceEntry]) -> bytes:
    """Return the document of a cluster as JSON. Called in a thread, as it describes every service."""
    info = DocumentInfo(
        title=cluster, version=str(snapshot.revision), description=_DESCRIPTION.format(cluster=cluster)
    )
    return msgspec.json.encode(build_document(info, documented_channels(snapshot, types, services)))


def documented_channels(
    snapshot: Snapshot, types: ObjectTypeRegistry, services: Iterable[ServiceEntry]
) -> Iterator[ChannelModel]:
    """Yield the models of the active REST channels whose services are deployed and active."""
    entries = {entry.name: entry for entry in services if entry.is_active}
    references = SnapshotReferences(snapshot, types)
    shape = cache(openapi_service_shape)  # cached, as several channels may use one service
    for object_type in filter(_is_rest, types):
        for stored in snapshot.objects_of_types(object_type.key):
            value = stored.value
            entry = entries.get(value.service)
            if value.is_active and entry is not None:
                yield ChannelModel(
                    name=value.name, path=value.url_path, service=shape(entry), method=value.method or '',
                    match_slash=value.match_slash, data_format=value.data_format,
                    merges_url_params=getattr(value, 'merge_url_params_req', True), server=value.public_url.rstrip('/'),
                    security=tuple(_security_schemes(value, snapshot, references)),
                    has_roles=bool(value.roles or entry.roles), is_limited=bool(value.rate_limits),
                    etag=getattr(value, 'etag', False),
                )  # fmt: skip


def _is_rest(object_type: ObjectType) -> bool:
    return object_type.zato is not None and _REST.items() <= object_type.zato.fixed_fields.items()


def _security_schemes(
    channel: Any, snapshot: Snapshot, references: SnapshotReferences
) -> Iterator[ChannelSecurityDefinition]:
    """Yield the security definitions that grant access to a channel."""
    groups = [snapshot.get(references.id_of(_GROUPS, name) or 0) for name in channel.groups]
    members = [member for group in groups if group is not None for member in group.value.members]
    for name in dict.fromkeys(([channel.security] if channel.security else []) + members):
        stored = snapshot.get(references.id_of(_SECURITY, name) or 0)
        if stored is not None:
            yield security_definition_model(stored)


def security_definition_model(stored: StoredObject) -> ChannelSecurityDefinition:
    """Return the OpenAPI description of a security definition."""
    security_type = find_security_types().get(stored.type)
    if security_type is None or security_type.openapi_scheme is None:
        return ChannelSecurityDefinition(stored.name, stored.type)
    return ChannelSecurityDefinition(stored.name, stored.type, security_type.openapi_scheme(stored.value))
