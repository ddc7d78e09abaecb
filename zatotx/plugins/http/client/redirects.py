"""Follows redirects, if a connection is configured to: RFC 9110 §15.4, by the rules of `rules.http.redirects`."""

from __future__ import annotations

import msgspec

from zatotx.plugins.http.client.call import Fields, HttpRequest, HttpResponse, Origin, Sender
from zatotx.plugins.http.client.errors import BadRedirect, TooManyRedirects
from zatotx.rules.http.redirects import (
    REDIRECT_STATUSES,
    RedirectedRequest,
    RedirectError,
    RedirectTarget,
    follow_redirect,
    is_body_header,
    is_credential,
)
from zatotx.wire.http1.request_writer import HeaderFields


class RedirectFollower:
    """Follows at most `max_redirects` redirects of a call, within the call's total timeout.

    Redirects to another origin are followed only with `any_origin`, and then not to addresses that only this machine
    can reach: `Origin.redirected` makes the connector check the address. Credentials (`is_credential`, and the fields
    in `secret_fields`, lower-case) are not sent to another origin.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        max_redirects: int,
        any_origin: bool = False,
        secret_fields: frozenset[bytes] = frozenset(),
    ) -> None:
        self._sender = sender
        self._max_redirects = max_redirects
        self._any_origin = any_origin
        self._secret_fields = secret_fields

    async def follow(self, response: HttpResponse, request: HttpRequest, deadline: float) -> HttpResponse:
        """Return the final response, which is `answer` if that is no redirect; a redirect without Location is returned
        like any other response. `deadline`: when the call times out, in seconds on the reactor's clock.

        Raises BadRedirect if a redirect cannot be followed, TooManyRedirects if there are too many or they form a loop,
        and the sender's errors.
        """
        original_origin = request.origin
        seen = {(request.method, _target_of(request))}
        while response.head.status in REDIRECT_STATUSES and b'location' in response.head.headers:
            if not isinstance(response.body, bytes):
                response.body.close()
            if len(seen) > self._max_redirects:
                host = request.origin.host
                raise TooManyRedirects(f'redirected more than {self._max_redirects} times, at last by {host}')
            request = self._next(response, request, original_origin, deadline)
            visited = (request.method, _target_of(request))
            if visited in seen:
                raise TooManyRedirects(f'redirected in a circle by {request.origin.host}')
            seen.add(visited)
            response = await self._sender.send(request)
        return response

    def _next(self, answer: HttpResponse, outbound: HttpRequest, home: Origin, by: float) -> HttpRequest:
        """Return the request that a redirect asks for. `home`: the origin of the call. Raises BadRedirect."""
        head, host = answer.head, outbound.origin.host
        try:
            redirected = follow_redirect(
                head.status, outbound.method, _target_of(outbound), head.headers[b'location'],
                has_body=outbound.body is not None,
            )  # fmt: skip
        except RedirectError as error:
            raise BadRedirect(f'the redirection ({head.status}) by {host} {error}') from None
        if redirected.keeps_body and not _is_repeatable(outbound):
            raise BadRedirect(f'the redirection ({head.status}) by {host} is of a body that can be sent only once')
        target = redirected.target
        origin = Origin('https' if target.secure else 'http', target.host, target.port)
        if origin != home:
            if not self._any_origin:
                raise other_origin_error(f'the redirection ({head.status}) by {host}', origin)
            origin = msgspec.structs.replace(origin, redirected=True)
        return msgspec.structs.replace(
            outbound,
            method=redirected.method,
            origin=origin,
            target=target.target.encode('ascii'),
            headers=self._kept_headers(outbound.headers, redirected),
            body=outbound.body if redirected.keeps_body else None,
            expect_timeout=outbound.expect_timeout if redirected.keeps_body else 0.0,
            deadline=by,
        )

    def _kept_headers(self, headers: Fields | HeaderFields, redirected: RedirectedRequest) -> Fields:
        return [
            (name, value) for name, value in headers
            if (redirected.keeps_body or not is_body_header(name))
            and (redirected.keeps_credentials or not self._is_private(name))
        ]  # fmt: skip

    def _is_private(self, name: bytes) -> bool:
        """Return whether a field must not be sent to another origin; Host always belongs to one origin."""
        return is_credential(name) or name.lower() in self._secret_fields or name.lower() == b'host'


def other_origin_error(redirection: str, origin: Origin) -> BadRedirect:
    """Return the error for a redirect to an origin that the connection does not follow to."""
    return BadRedirect(f'{redirection} leads to {origin.scheme}://{origin.authority.decode("ascii")}, where only '
                       '`follow_redirects: any` follows')  # fmt: skip


def _target_of(outbound: HttpRequest) -> RedirectTarget:
    origin = outbound.origin
    return RedirectTarget(origin.scheme == 'https', origin.host, origin.port, outbound.target.decode('ascii'))


def _is_repeatable(outbound: HttpRequest) -> bool:
    body = outbound.body
    return body is None or isinstance(body, bytes) or body.repeatable
