"""The contracts of kinds, on HTTP and on a kind from outside the package."""

from __future__ import annotations

import socket
from typing import Any

from trial_tests.support.kind_contracts import SHORT, ChannelContract, OutgoingContract
from trial_tests.support.lines_kind.zatotx.plugins import lines
from trial_tests.support.lines_kind.zatotx.plugins.lines import channel as lines_channel
from trial_tests.support.lines_kind.zatotx.plugins.lines import outgoing as lines_outgoing
from trial_tests.support.lines_kind.zatotx.plugins.lines.schema import LinesChannel, LinesDefinition, LinesOutgoing
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.plugins import http
from zatotx.plugins.http import channel as http_channel
from zatotx.plugins.http import outgoing as http_outgoing
from zatotx.plugins.http.schema import RestChannel, RestOutgoing
from zatotx.schema.snapshot import StoredObject

DEFINITION = StoredObject(1, 'definition_lines', LinesDefinition(name='plain'), 1)


def received(connection: socket.socket, end: bytes) -> bytes:
    data = b''
    while end not in data:
        more = connection.recv(65_536)
        if not more:
            break
        data += more
    return data


class LinesChannelTests(ChannelContract):
    """Channels of lines."""

    meter_kind = 'lines'

    def declaration(self) -> ConnectorKind:
        return lines.kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        return lines_channel.make_channel(context)

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = LinesChannel(name='in', address=f'tcp:port={port}:interface=127.0.0.1', service=service,
                             definition='plain', is_active=is_active)  # fmt: skip
        return [DEFINITION, StoredObject(2, 'channel_lines', value, 1)]

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        connection.sendall(text + b'\n')

    def read_reply(self, connection: socket.socket) -> bytes:
        return received(connection, b'\n')


class HttpChannelTests(ChannelContract):
    """REST channels."""

    meter_kind = 'http-soap'

    def declaration(self) -> ConnectorKind:
        return http.kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        return http_channel.make_channel(context)

    def settings(self, port: int) -> dict[str, Any]:
        return {'listen': [f'tcp:port={port}:interface=127.0.0.1']}

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = RestChannel(name='in', url_path='/in', service=service, is_active=is_active)
        return [StoredObject(2, 'channel_rest', value, 1)]

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        connection.sendall(b'POST /in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s'
                           % (len(text), text))  # fmt: skip

    def read_reply(self, connection: socket.socket) -> bytes:
        return received(connection, b'never')


class LinesOutgoingTests(OutgoingContract):
    """Outgoing connections of lines."""

    object_type, namespace, response = 'outgoing_lines', 'lines', b'OK\n'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return lines_outgoing.make_outgoing(context)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = LinesOutgoing(name='peer', host='127.0.0.1', port=port, definition='plain', timeout=timeout,
                              is_active=is_active)  # fmt: skip
        return [DEFINITION, StoredObject(2, 'outgoing_lines', value, 1)]

    async def call(self, connection: Any) -> str:
        text: str = await connection.send('hello')
        return text


class HttpOutgoingTests(OutgoingContract):
    """Outgoing REST connections."""

    object_type, namespace = 'outgoing_rest', 'rest'
    response = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return http_outgoing.make_outgoing(context)

    async def stopped(self) -> None:
        await super().stopped()
        await self.until(lambda: not self.outgoing.builder.environment.call_environment.timeout_sweeper.running)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = RestOutgoing(name='peer', host=f'http://127.0.0.1:{port}', timeout=timeout, is_active=is_active)
        return [StoredObject(2, 'outgoing_rest', value, 1)]

    async def call(self, connection: Any) -> str:
        response = await connection.get()
        text: str = response.text
        return text


del ChannelContract, OutgoingContract  # else they would be collected
