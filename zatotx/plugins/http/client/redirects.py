"""Redirections followed, where a connection wants that: RFC 9110 §15.4, by the rules of `rules.redirects`."""

from __future__ import annotations

import msgspec

from zatotx.plugins.http.client.call import Fields, HttpRequest, HttpResponse, Origin, Sender
from zatotx.plugins.http.client.errors import BadRedirect, TooManyRedirects
from zatotx.rules.http.redirects import (
    REDIRECTIONS,
    RedirectedRequest,
    RedirectError,
    RedirectTarget,
    is_body_header,
    is_credential,
    next_request,
)
from zatotx.wire.http1.request_writer import NamedFields


class RedirectFollower:
    """Follows at most `most` redirections of a call, within the time that the call has as a whole.

    Those to another origin than the call's are followed only with `any_origin`, and then not to where only we can get:
    `Origin.redirected` has the dialer look at the address. What says who asks (`is_credential`, and the names in
    `secret`, lower-case) stays behind where the origin changes.
    """

    def __init__(
        self, sender: Sender, *, most: int, any_origin: bool = False, secret: frozenset[bytes] = frozenset()
    ) -> None:
        self._sender = sender
        self._most = most
        self._any_origin = any_origin
        self._secret = secret

    async def follow(self, answer: HttpResponse, outbound: HttpRequest, by: float) -> HttpResponse:
        """The answer at the end of them, which is `answer` where it is none; one without a Location is an answer like
        any other. `by`: when the call has to be over, in seconds on the reactor's clock.

        Raises BadRedirect where one cannot be followed, TooManyRedirects where there are more or they go in circles,
        and what the sender fails with.
        """
        home = outbound.origin
        seen = {(outbound.method, _place(outbound))}
        while answer.head.status in REDIRECTIONS and b'location' in answer.head.headers:
            if not isinstance(answer.body, bytes):
                answer.body.close()
            if len(seen) > self._most:
                raise TooManyRedirects(f'redirected more than {self._most} times, at last by {outbound.origin.host}')
            outbound = self._next(answer, outbound, home, by)
            here = (outbound.method, _place(outbound))
            if here in seen:
                raise TooManyRedirects(f'redirected in a circle by {outbound.origin.host}')
            seen.add(here)
            answer = await self._sender.send(outbound)
        return answer

    def _next(self, answer: HttpResponse, outbound: HttpRequest, home: Origin, by: float) -> HttpRequest:
        """The request that the answer asks for. `home`: the origin of the call. Raises BadRedirect."""
        head, host = answer.head, outbound.origin.host
        try:
            hop = next_request(
                head.status, outbound.method, _place(outbound), head.headers[b'location'],
                has_body=outbound.body is not None,
            )  # fmt: skip
        except RedirectError as misled:
            raise BadRedirect(f'the redirection ({head.status}) by {host} {misled}') from None
        if hop.keeps_body and not _repeatable(outbound):
            raise BadRedirect(f'the redirection ({head.status}) by {host} is of a body that can be sent only once')
        there = hop.place
        origin = Origin('https' if there.secure else 'http', there.host, there.port)
        if origin != home:
            if not self._any_origin:
                raise elsewhere(f'the redirection ({head.status}) by {host}', origin)
            origin = msgspec.structs.replace(origin, redirected=True)
        return msgspec.structs.replace(
            outbound,
            method=hop.method,
            origin=origin,
            target=there.target.encode('ascii'),
            headers=self._kept(outbound.headers, hop),
            body=outbound.body if hop.keeps_body else None,
            expect=outbound.expect if hop.keeps_body else 0.0,
            deadline=by,
        )

    def _kept(self, headers: Fields | NamedFields, hop: RedirectedRequest) -> Fields:
        return [
            (name, value) for name, value in headers
            if (hop.keeps_body or not is_body_header(name)) and (hop.keeps_credentials or not self._stays(name))
        ]  # fmt: skip

    def _stays(self, name: bytes) -> bool:
        """Whether another origin must not see it; Host is a matter of the origin's anyway."""
        return is_credential(name) or name.lower() in self._secret or name.lower() == b'host'


def elsewhere(redirection: str, origin: Origin) -> BadRedirect:
    """The error of a redirection to an origin that the connection does not follow to."""
    return BadRedirect(f'{redirection} leads to {origin.scheme}://{origin.authority.decode("ascii")}, where only '
                       '`follow_redirects: any` follows')  # fmt: skip


def _place(outbound: HttpRequest) -> RedirectTarget:
    origin = outbound.origin
    return RedirectTarget(origin.scheme == 'https', origin.host, origin.port, outbound.target.decode('ascii'))


def _repeatable(outbound: HttpRequest) -> bool:
    body = outbound.body
    return body is None or isinstance(body, bytes) or body.repeatable
