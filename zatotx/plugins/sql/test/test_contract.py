"""What all outgoing connections promise, on SQL connections to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trial_tests.support import postgresql
from trial_tests.support.kind_contracts import SHORT, OutgoingContract
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.plugins.sql.outgoing import make_outgoing
from zatotx.plugins.sql.schema import SqlOutgoing
from zatotx.schema.snapshot import StoredObject


class SqlOutgoingTests(OutgoingContract):
    """SQL connections."""

    object_type, namespace, response = 'sql', 'sql', b'PostgreSQL'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = SqlOutgoing(name='peer', url=f'postgresql://admin@127.0.0.1:{port}/postgres', timeout=timeout,
                            password=postgresql.PASSWORD, is_active=is_active)  # fmt: skip
        return [StoredObject(2, 'sql', value, 1)]

    @contextmanager
    def peer(self, response: bytes | None) -> Iterator[int]:
        """The server, or a socket that is silent."""
        if response is None:
            with super().peer(None) as port:
                yield port
        else:
            yield postgresql.shared().port

    async def call(self, connection: Any) -> str:
        text: str = await connection.fetch_value("select 'OK'")
        return text


del OutgoingContract  # else it would be collected
