"""zato.outgoing.deliver: makes the calls of outgoing connections that were stored (`delivery: guaranteed`)."""

from __future__ import annotations

from inspect import isawaitable
from typing import Any

from zatotx.api.base import AdminService, bad_request
from zatotx.connectors.guaranteed_delivery import DELIVER_SERVICE


class Deliver(AdminService):
    """Make one call: `kind` and `name` of the connection, `method`, `args`, `kwargs`."""

    name = DELIVER_SERVICE

    async def handle(self) -> None:
        call: Any = self.request.payload
        if not isinstance(call, dict) or str(call.get('method', '_')).startswith('_'):
            raise bad_request('method', 'missing: this service is invoked by guaranteed deliveries only')
        connection = getattr(self.out, str(call.get('kind')))[call.get('name')]
        result = getattr(connection, call['method'])(*call.get('args', ()), **call.get('kwargs', {}))
        if isawaitable(result):
            await result
        self.response.payload = {}


SERVICES = (Deliver,)
