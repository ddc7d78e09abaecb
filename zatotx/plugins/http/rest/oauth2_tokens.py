"""Access tokens of OAuth 2.0 by the client credentials grant (RFC 6749 §4.4): what is asked, what is answered, and when
a token is of use. No I/O.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus

import msgspec

from zatotx.rules.routing.url_template import encode_query
from zatotx.schema.security.oauth2_client import OAuth2Client

USUAL_LIFE = 300.0  # seconds of a token whose answer does not say how long it may be used
_SLACK = 5.0  # seconds before its end that it is of no use any more: it has to arrive
_EARLY, _LATEST = 0.2, 60.0  # of its life, but no more than so many seconds, before its end it is renewed
_LONGEST_LIFE = 366 * 86_400.0


class TokenRefused(Exception):  # noqa: N818 - what it is
    """The server gave none. The text says why, as the rest of a sentence, and holds nothing secret."""


class AccessToken(msgspec.Struct, frozen=True):
    """A token, and its times in seconds since the epoch."""

    value: str
    renew_at: float
    ends: float

    def __repr__(self) -> str:
        return f'<Token until {self.ends:.0f}>'

    @property
    def key(self) -> str:
        """By which it is known without being shown."""
        return sha256(self.value.encode('utf-8')).hexdigest()


class _Answer(msgspec.Struct):
    access_token: str
    token_type: str = 'Bearer'
    expires_in: float | str | None = None


class _Error(msgspec.Struct):
    error: str = ''


def token_request(definition: OAuth2Client) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Fields and body of the request for a token."""
    form = {'grant_type': 'client_credentials', **definition.extra_fields}
    if definition.scopes:
        form['scope'] = ' '.join(definition.scopes)
    fields = [(b'Content-Type', b'application/x-www-form-urlencoded'), (b'Accept', b'application/json')]
    if definition.client_auth == 'basic':  # RFC 6749 §2.3.1: encoded as a form before they are joined
        pair = f'{quote_plus(definition.client_id)}:{quote_plus(definition.client_secret)}'
        fields.append((b'Authorization', b'Basic ' + b64encode(pair.encode('ascii'))))
    else:
        form |= {'client_id': definition.client_id, 'client_secret': definition.client_secret}
    return fields, encode_query(form)


def parse_token_response(status: int, body: bytes, now: float) -> AccessToken:
    """The token of an answer. Raises TokenRefused."""
    if status != 200:
        raise TokenRefused(f'its server answered {status}{_error(body)}')
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError:
        raise TokenRefused('its server answered what is not JSON with an access_token') from None
    if answer.token_type.lower() != 'bearer':
        raise TokenRefused('its server gives tokens of another type than Bearer')
    value = answer.access_token
    if not value or not value.isascii() or not value.isprintable() or ' ' in value:
        raise TokenRefused('its server gave a token that no header can have')
    life = _life(answer.expires_in)
    return AccessToken(value, now + life - min(life * _EARLY, _LATEST) - _SLACK, now + life - _SLACK)


def fingerprint(definition: OAuth2Client) -> str:
    """What tells this definition's tokens from those of others, and of what it was before; it shows no secret."""
    said = [definition.token_url, definition.client_id, definition.client_secret, definition.scopes,
            sorted(definition.extra_fields.items())]  # fmt: skip
    return sha256(msgspec.json.encode(said)).hexdigest()[:32]


def _life(given: Any) -> float:
    try:
        life = USUAL_LIFE if given is None else float(given)
    except ValueError:
        return USUAL_LIFE
    return min(max(life, 0.0), _LONGEST_LIFE)


def _error(body: bytes) -> str:
    """The code of an error (RFC 6749 §5.2), where it has one; it is not for the peer to write our sentences."""
    try:
        code = msgspec.json.decode(body, type=_Error).error
    except msgspec.MsgspecError:
        return ''
    fits = 0 < len(code) <= 60 and code.isascii() and code.replace('_', '').replace('-', '').isalnum()
    return f' {code}' if fits else ''
