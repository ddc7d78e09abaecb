"""The contract of outgoing connections, on FTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trial_tests.support import ftp_servers
from trial_tests.support.kind_contracts import SHORT, OutgoingContract
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.plugins.ftp.outgoing import make_outgoing
from zatotx.plugins.ftp.schema.outgoing_ftp import FtpOutgoing
from zatotx.schema.snapshot import StoredObject


class FtpOutgoingTests(OutgoingContract):
    """Outgoing FTP connections."""

    object_type, namespace, response = 'outgoing_ftp', 'ftp', b'OK'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = FtpOutgoing(name='peer', host='127.0.0.1', port=port, timeout=timeout, is_active=is_active,
                            user=ftp_servers.USER, password=ftp_servers.PASSWORD)  # fmt: skip
        return [StoredObject(2, 'outgoing_ftp', value, 1)]

    @contextmanager
    def peer(self, response: bytes | None) -> Iterator[int]:
        """A real server with the response in a file, or one that is silent."""
        if response is None:
            with super().peer(None) as port:
                yield port
        else:
            server = ftp_servers.pyftpdlib()
            server.write('contract.txt', response)
            yield server.port

    async def call(self, connection: Any) -> str:
        content: bytes = await connection.getcontents('contract.txt')
        return content.decode()


del OutgoingContract  # else it would be collected
