"""Parses the response of `zato.server.get-list`, and adds the listed servers to backends. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from zatotx.lb.config.model import Backend, Configuration, Server

_WILDCARDS = ('', '0.0.0.0', '::', '*')  # noqa: S104 - compared, not bound
_RUNNING = 'running'


class ClusterMember(msgspec.Struct, frozen=True):
    """A running server of the cluster."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    host: Annotated[str, Meta(min_length=1, max_length=200)]
    port: Annotated[int, Meta(ge=1, le=65_535)]


class _Row(msgspec.Struct, frozen=True):
    name: str
    bind_host: str | None = ''
    bind_port: int | None = None
    host: str | None = ''
    up_status: str | None = ''


class _Response(msgspec.Struct, frozen=True):
    zato_server_get_list_response: list[_Row]


def parse_member_list(body: bytes) -> list[ClusterMember]:
    """Parse the response of `zato.server.get-list`, and return the running servers by name. Raises ValueError, whose
    message is a sentence fragment, for an invalid response."""
    try:
        rows = msgspec.json.decode(body, type=_Response).zato_server_get_list_response
        found = [
            msgspec.convert({'name': row.name, 'host': _address(row), 'port': row.bind_port}, ClusterMember)
            for row in rows if row.up_status == _RUNNING
        ]
    except msgspec.MsgspecError as error:
        raise ValueError(f'its response is not a list of servers: {error}') from None
    return sorted(found, key=lambda member: member.name)


def _address(row: _Row) -> str:
    """Return where other machines reach a server: where it listens, or its machine if it listens everywhere."""
    bind_host = row.bind_host or ''
    return (row.host or '') if bind_host in _WILDCARDS else bind_host


def add_members(configuration: Configuration, members: Mapping[str, Sequence[ClusterMember]]) -> Configuration:
    """Return the configuration with the discovered members added to their backends. Servers in the configuration file
    are not changed, even if a member has the same name or address."""
    backends = {
        name: _with_members(backend, members.get(name, ())) if backend.discovery is not None else backend
        for name, backend in configuration.backends.items()
    }
    return msgspec.structs.replace(configuration, backends=backends)


def _with_members(backend: Backend, members: Sequence[ClusterMember]) -> Backend:
    assert backend.discovery is not None
    addresses = {(server.host, server.port) for server in backend.servers.values()}
    added = {
        member.name: Server(host=member.host, port=member.port, tls=backend.discovery.tls,
                            max_connections=backend.discovery.max_connections)
        for member in members
        if member.name not in backend.servers and (member.host, member.port) not in addresses
    }
    return msgspec.structs.replace(backend, servers={**backend.servers, **added}) if added else backend
