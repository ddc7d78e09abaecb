"""A small OAuth 2.0 authorization server and the systems that trust it, as peers on real sockets."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from attrs import define, field
from twisted.internet.task import deferLater

from zatotx.plugins.http.test.upstream_servers import Answering, Peer, Request, reactor, says

JSON = b'Content-Type: application/json'


@define
class AuthorizationServer:
    """`token` answers requests for tokens, `resource` those with one. Tokens are called t1, t2 …"""

    client_id: str = 'zatotx'
    client_secret: str = 'a secret: ž'
    expires_in: Any = 3600
    token_type: str = 'Bearer'
    delay: float = 0.0  # seconds until a token is given
    instead: Answering | None = None  # what is answered instead of a token
    given: int = 0
    valid: set[str] = field(factory=set)
    forms: list[dict[str, list[str]]] = field(factory=list)

    def token(self, peer: Peer, request: Request) -> None:
        """RFC 6749 §4.4."""
        form = parse_qs(request.body.decode())
        self.forms.append(form)
        if self.instead is not None:
            self.instead(peer, request)
        elif form.get('grant_type') != ['client_credentials'] or self._client(form, request) != (
            self.client_id, self.client_secret
        ):
            says(b'401 Unauthorized', b'{"error": "invalid_client"}', JSON)(peer, request)
        else:
            deferLater(reactor, self.delay, self._give, peer, request)

    def resource(self, peer: Peer, request: Request) -> None:
        """200 with the token that came, or 401."""
        token = request.headers.get(b'authorization', b'').decode().removeprefix('Bearer ')
        if token in self.valid:
            says(b'200 OK', token.encode())(peer, request)
        else:
            says(b'401 Unauthorized', b'', b'WWW-Authenticate: Bearer error="invalid_token"')(peer, request)

    def withdraw(self) -> None:
        """No token that was given is of use any more."""
        self.valid.clear()

    def _give(self, peer: Peer, request: Request) -> None:
        self.given += 1
        token = f't{self.given}'
        self.valid.add(token)
        answer = {'access_token': token, 'token_type': self.token_type, 'expires_in': self.expires_in}
        body = json.dumps({name: value for name, value in answer.items() if value is not None})
        says(b'200 OK', body.encode(), JSON)(peer, request)

    def _client(self, form: dict[str, list[str]], request: Request) -> tuple[str, str]:
        field_value = request.headers.get(b'authorization', b'')
        if field_value:
            username, _, password = b64decode(field_value.removeprefix(b'Basic ')).decode().partition(':')
            return unquote_plus(username), unquote_plus(password)
        return form.get('client_id', [''])[0], form.get('client_secret', [''])[0]
