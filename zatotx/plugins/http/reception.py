"""What becomes of a request by its head alone: an Inbound for the exchange, or a refusal. Decides, does no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from zatotx.model.cid import accepted_cid, new_cid
from zatotx.model.message import HTTPView, Inbound, Reply
from zatotx.plugins.http import refusals
from zatotx.plugins.http.refusals import refusal
from zatotx.plugins.http.table import Target
from zatotx.plugins.http.turn import Turn
from zatotx.rules.routing import MethodMissing, RouteTable
from zatotx.wire.http1 import RequestHead
from zatotx.wire.target import Malformed, decode_path
from zatotx.wire.trace import continued

_NOWHERE: Mapping[str, str] = {}
_LONGEST_DEADLINE = 24 * 60 * 60 * 1000  # milliseconds, eight digits


class Reception:
    """Receives heads with the routes in force: a request goes by the table of the moment its head came."""

    __slots__ = ('_max_body', 'routes')

    def __init__(self, routes: RouteTable, max_body: int) -> None:
        self.routes = routes
        self._max_body = max_body

    def receive(self, turn: Turn, head: RequestHead, peer: str) -> Reply | None:
        """Give the turn its cid and its Inbound. Where there is nothing to do for the exchange: the answer."""
        headers = head.headers
        sent = headers.get(b'x-zato-cid')
        cid = turn.cid = (accepted_cid(sent.decode('latin-1')) if sent else None) or new_cid()
        raw = head.path
        try:
            match = self.routes.find(head.method, raw)
            path = decode_path(raw) if b'%' in raw else raw.decode('ascii')
        except Malformed as error:
            return refusal(400, cid, f'The URL cannot be read: {error}')
        if match is None:
            return refusal(404, cid, refusals.NOT_FOUND)
        if isinstance(match, MethodMissing):
            allow = ', '.join(match.allow).encode('ascii')
            return refusal(405, cid, refusals.NOT_SO.format(method=head.method), ((b'Allow', allow),))
        target: Target = match.target
        turn.channel = target.label
        wrong = self._wrong(target, head, cid)
        if wrong is not None:
            return wrong
        spec, params = target.spec, match.params
        service = spec.service
        if not service:  # a door: its path names the service, which is no parameter of that service
            service, params = params['service'], _NOWHERE
        allowed = spec.timeout
        if b'x-zato-deadline-ms' in headers:
            milliseconds = _milliseconds(headers[b'x-zato-deadline-ms'])
            if milliseconds is None:
                return refusal(400, cid, refusals.BAD_DEADLINE)
            allowed = min(allowed, milliseconds / 1000)
        parent = headers.get(b'traceparent')
        view = HTTPView(head.method, head.target, path, head.query, headers, params, peer, head.version)
        turn.inbound = Inbound(cid, spec, service, headers, b'', turn.began + allowed, view,
                               continued(parent) if parent is not None else '')  # fmt: skip
        return None

    def _wrong(self, target: Target, head: RequestHead, cid: str) -> Reply | None:
        """What this channel cannot do for a request with such a head."""
        if not target.is_active:
            return refusal(404, cid, refusals.INACTIVE)
        if head.expects and head.expects != b'100-continue':
            return refusal(417, cid, refusals.NO_SUCH_EXPECTATION)
        coding = head.headers.get(b'content-encoding')
        if coding is not None and coding.lower() != b'identity':
            return refusal(415, cid, refusals.NO_CODING, ((b'Accept-Encoding', b'identity'),))
        if head.length is not None and head.length > self._max_body:
            return refusal(413, cid, refusals.TOO_MUCH.format(limit=self._max_body))
        return None


def _milliseconds(text: bytes) -> int | None:
    """The value of X-Zato-Deadline-Ms: a whole number from 1 to a day's worth, else None."""
    if not text.isdigit() or len(text) > 8:
        return None
    number = int(text)
    return number if 0 < number <= _LONGEST_DEADLINE else None
