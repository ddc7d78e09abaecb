"""CORS preflight requests (Fetch standard), answered from the request head alone, without credentials and without
invoking the service."""

from __future__ import annotations

from zatotx.plugins.http.server.route_match import ChannelTarget, ErrorResult
from zatotx.plugins.http.server.route_table import ChannelTable
from zatotx.rules.http.cors import CorsForbidden
from zatotx.rules.routing.route_table import MatchedRoute
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.malformed import Malformed

_VARY = b'Vary', b'Origin, Access-Control-Request-Method, Access-Control-Request-Headers'


def answer_preflight(routes: ChannelTable, head: RequestHead) -> tuple[ChannelTarget, ErrorResult] | None:
    """Return the channel and the response to a preflight request. Returns None if the request is no preflight, or names
    no channel with CORS rules: then it is processed like any other."""
    headers = head.headers
    origin, method = headers.get(b'origin'), headers.get(b'access-control-request-method')
    if origin is None or method is None:
        return None
    try:
        match = routes.rest.find(method.decode('latin-1'), head.path)
    except Malformed:
        return None
    target = match.target if isinstance(match, MatchedRoute) else None
    if (
        target is None
        or not target.is_active
        or target.response_filters is None
        or target.response_filters.cors is None
    ):
        return None
    try:
        fields = target.response_filters.cors.preflight_headers(
            origin, method, headers.get(b'access-control-request-headers')
        )
    except CorsForbidden as error:
        return target, ErrorResult(403, f'{error}', (_VARY,))
    return target, ErrorResult(204, '', (*fields, _VARY))
