"""What a browser asks before it sends a request of another site (the Fetch standard, CORS-preflight): answered by the
head alone, without credentials and without the service."""

from __future__ import annotations

from zatotx.plugins.http.server.route_match import ErrorResult, Target
from zatotx.plugins.http.server.route_table import ChannelTable
from zatotx.rules.http.cors import CorsForbidden
from zatotx.rules.routing.route_table import Match
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.malformed import Malformed

_VARY = b'Vary', b'Origin, Access-Control-Request-Method, Access-Control-Request-Headers'


def answer_preflight(routes: ChannelTable, head: RequestHead) -> tuple[Target, ErrorResult] | None:
    """The channel that is asked about, and the answer. None where this is no preflight, or is about no channel that
    has anything to say of other sites: then it is a request like any other."""
    headers = head.headers
    origin, method = headers.get(b'origin'), headers.get(b'access-control-request-method')
    if origin is None or method is None:
        return None
    try:
        match = routes.rest.find(method.decode('latin-1'), head.path)
    except Malformed:
        return None
    target = match.target if isinstance(match, Match) else None
    if target is None or not target.is_active or target.dressing is None or target.dressing.cors is None:
        return None
    try:
        fields = target.dressing.cors.of_preflight(origin, method, headers.get(b'access-control-request-headers'))
    except CorsForbidden as why:
        return target, ErrorResult(403, f'{why}', (_VARY,))
    return target, ErrorResult(204, '', (*fields, _VARY))
