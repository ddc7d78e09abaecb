"""The service zato.outgoing.deliver, which sends the stored calls of outgoing connections with `delivery:
guaranteed`."""

from __future__ import annotations

from inspect import isawaitable
from typing import Any

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.connectors.guaranteed_delivery import DELIVER_SERVICE
from zatotx.model.errors import BadRequest, BadStatus
from zatotx.model.response import PeerResponse
from zatotx.model.soap_message import SENDER, PeerFault
from zatotx.rules.resilience.inbound_retry import is_permanent_failure

_REQUEST_TIMEOUT = 408  # the request did not arrive as a whole


class DeliverStoredCall(AdminService):
    """Send one stored call of an outgoing connection. The request contains the `kind` and `name` of the connection, and
    `method`, `args` and `kwargs` of the call. Raises BadRequest if the peer rejects the call as invalid, in which case
    it is not retried, and other errors otherwise."""

    name = DELIVER_SERVICE

    async def handle(self) -> None:
        call: Any = self.request.payload
        names = str(call.get('method', '_')).split('.') if isinstance(call, dict) else ['_']
        if any(name.startswith('_') for name in names):
            raise bad_field_error('method', 'missing: this service is invoked by guaranteed deliveries only')
        method = getattr(self.out, str(call.get('kind')))[call.get('name')]
        for name in names:
            method = getattr(method, name)
        try:
            result = method(*call.get('args', ()), **call.get('kwargs', {}))
            if isawaitable(result):
                result = await result
            if isinstance(result, PeerResponse):
                result.raise_for_status()
        except (TypeError, ValueError) as error:
            raise BadRequest(self.cid, f'{call.get("kind")} {call.get("name")}: {error}') from error
        except (BadStatus, PeerFault) as error:
            if is_rejected(error):
                raise BadRequest(self.cid, str(error)) from error
            raise
        self.response.payload = {}


def is_rejected(error: BadStatus | PeerFault) -> bool:
    """Return whether the peer rejected the call as invalid, so that a retry cannot succeed."""
    if isinstance(error, PeerFault):
        return error.code == SENDER
    return is_permanent_failure(error.status_code) and error.status_code != _REQUEST_TIMEOUT


SERVICES = (DeliverStoredCall,)
