"""Finds the security types with getPlugins in the package zatotx.security, and loads them on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from twisted.plugin import getPlugins

from zatotx.connectors.kind_registry import InstalledKind, find_kinds, import_part, object_types_of_kinds
from zatotx.interfaces.security_type import CredentialsContext, ISecurityType, OutgoingCredentials, SecurityType
from zatotx.schema.security.definition import FOR_CHANNELS
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.type_registry import BUILTIN_TYPES, ObjectTypeRegistry


@cache
def find_security_types() -> Mapping[str, SecurityType]:
    """Return the installed security types by key, sorted."""
    found: Iterable[Any] = getPlugins(ISecurityType, import_module('zatotx.security'))
    return {one.key: one for one in sorted(found, key=lambda one: str(one.key))}


def all_object_types(kinds: Iterable[InstalledKind] | None = None) -> ObjectTypeRegistry:
    """Return all object types: those of the security types, the built-in object types, and those of `kinds`. If `kinds`
    is None, the installed kinds are used."""
    security = [one.usable_object_type() for one in find_security_types().values()]
    return ObjectTypeRegistry(
        [*security, *BUILTIN_TYPES, *object_types_of_kinds(find_kinds() if kinds is None else kinds)]
    )


def credentials_error(stored: StoredObject, purpose: str) -> str:
    """Return the reason why connections of the given purpose cannot send the credentials of a security definition, or
    '' if they can. The reason completes a sentence that begins with the name of the connection."""
    security_type = find_security_types()[stored.type]
    if purpose not in security_type.purposes:
        usable = ' and '.join('channels' if one == FOR_CHANNELS else one for one in sorted(security_type.purposes))
        return f'its security definition {stored.name} is of type {stored.type}, which is for {usable} only'
    return '' if stored.value.is_active else f'its security definition {stored.name} is inactive'


def make_credentials(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return the outgoing credentials of a security definition. The caller must have checked `credentials_error`.
    Raises UnusableCredentials."""
    credentials: OutgoingCredentials = import_part(find_security_types()[stored.type].credentials)(stored, context)
    return credentials


def secret_query_parameters(snapshot: Snapshot) -> list[str]:
    """Return the names of the query parameters in which a snapshot's security definitions expect secrets."""
    types = find_security_types()
    return [name for key, found in types.items() for stored in snapshot.iter_type(key)
            for name in found.query_parameters(stored.value)]  # fmt: skip


def requires_client_certificates(snapshot: Snapshot) -> bool:
    """Return whether an active security definition of a snapshot authenticates callers by client certificates."""
    keys = [key for key, one in find_security_types().items() if one.requests_client_certificate]
    return any(stored.value.is_active for key in keys for stored in snapshot.iter_type(key))
