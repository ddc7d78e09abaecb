"""HTTP Digest authentication (RFC 7616) for clients. After the first challenge, further requests are authorized in
advance.

MD5, SHA-256 and SHA-512-256, each with and without -sess; qop=auth, and no qop for old servers (RFC 2069).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from secrets import token_hex
from urllib.parse import quote

from attrs import define, field, frozen

from zatotx.interfaces.security_type import CredentialsContext, OutgoingCredentials
from zatotx.plugins.http.client.http_messages import Fields, HttpResponse
from zatotx.plugins.http.rest.request_builder import OutgoingRequest
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.http.authentication import Challenge, parse_challenges, parse_parameters, quote_string

# The names of RFC 7616 §3.3 and those of hashlib, the strongest first.
_HASHES = {'SHA-512-256': 'sha512_256', 'SHA-256': 'sha256', 'MD5': 'md5'}
_SUPPORTED = [name for name, called in _HASHES.items() if called in hashlib.algorithms_available]
_SESSION = '-SESS'


@frozen(kw_only=True)
class DigestChallenge:
    """A Digest challenge with supported parameters."""

    realm: str
    nonce: str
    opaque: str | None
    algorithm: str  # as the peer wrote it; '' = none named, which means MD5
    qop: bool
    userhash: bool

    @property
    def hash(self) -> str:
        """The hash algorithm, one of _SUPPORTED."""
        return self.algorithm.upper().removesuffix(_SESSION) or 'MD5'

    @property
    def is_session(self) -> bool:
        """Whether the algorithm is a -sess variant: the secret is hashed for one session only."""
        return self.algorithm.upper().endswith(_SESSION)


def strongest_challenge(challenges: Iterable[Challenge]) -> DigestChallenge | None:
    """Return the challenge with the strongest supported hash algorithm. If several challenges use that algorithm, the
    first of them is returned (RFC 7616 §3.7). Returns None if no challenge is supported."""
    supported = [parsed for challenge in challenges if (parsed := _parse_challenge(challenge)) is not None]
    return min(supported, key=lambda parsed: _SUPPORTED.index(parsed.hash), default=None)


def _parse_challenge(challenge: Challenge) -> DigestChallenge | None:
    params = challenge.params
    if challenge.scheme != 'digest' or 'nonce' not in params or 'realm' not in params:
        return None
    qops = [qop.strip().lower() for qop in params.get('qop', '').split(',')]
    if 'qop' in params and 'auth' not in qops:
        return None
    parsed = DigestChallenge(
        realm=params['realm'], nonce=params['nonce'], opaque=params.get('opaque'),
        algorithm=params.get('algorithm', ''), qop='qop' in params,
        userhash=params.get('userhash', '').lower() == 'true',
    )  # fmt: skip
    return parsed if parsed.hash in _SUPPORTED else None


@define
class DigestSession:
    """The state after a Digest challenge: the nonce, and the number of requests for which the nonce was used."""

    challenge: DigestChallenge
    username: str
    password: str = field(repr=False)
    cnonce: str = field(factory=lambda: token_hex(16))
    nonce: str = field(init=False)
    count: int = 0
    _secret: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.nonce = self.challenge.nonce
        secret = self._hash(f'{self.username}:{self.challenge.realm}:{self.password}')
        self._secret = self._hash(f'{secret}:{self.nonce}:{self.cnonce}') if self.challenge.is_session else secret

    def authorization(self, method: str, target: str) -> str:
        """Return the next Authorization field for a request with that method and target."""
        challenge = self.challenge
        self.count += 1
        nc = f'{self.count:08x}'
        request_hash = self._hash(f'{method}:{target}')
        middle = f'{nc}:{self.cnonce}:auth:' if challenge.qop else ''
        response = self._hash(f'{self._secret}:{self.nonce}:{middle}{request_hash}')
        fields = [
            self._username_field(),
            f'realm={quote_string(challenge.realm)}',
            f'nonce={quote_string(self.nonce)}',
            f'uri={quote_string(target)}',
        ]
        if challenge.algorithm:
            fields.append(f'algorithm={challenge.algorithm}')
        fields.append(f'response="{response}"')
        if challenge.opaque is not None:
            fields.append(f'opaque={quote_string(challenge.opaque)}')
        if challenge.qop:
            fields += ['qop=auth', f'nc={nc}']
        if challenge.qop or challenge.is_session:
            fields.append(f'cnonce="{self.cnonce}"')
        if challenge.userhash:
            fields.append('userhash=true')
        return f'Digest {", ".join(fields)}'

    def _username_field(self) -> str:
        if self.challenge.userhash:
            return f'username="{self._hash(f"{self.username}:{self.challenge.realm}")}"'
        if self.username.isascii():
            return f'username={quote_string(self.username)}'
        return f"username*=UTF-8''{quote(self.username, safe='')}"

    def _hash(self, text: str) -> str:
        return hashlib.new(_HASHES[self.challenge.hash], text.encode('utf-8'), usedforsecurity=False).hexdigest()


class DigestAuthorizer:
    """An Authorizer for one connection with Digest authentication."""

    def __init__(self, username: str, password: str, cnonce: Callable[[], str] = lambda: token_hex(16)) -> None:
        self._username, self._password, self._cnonce = username, password, cnonce
        self._session: DigestSession | None = None

    async def credentials(self, request: OutgoingRequest) -> Fields:
        """See Authorizer: no credentials until the peer has sent a challenge."""
        session = self._session
        if session is None:
            request.sent_credentials = None
            return ()
        value = session.authorization(request.method, request.target.decode('ascii'))
        request.sent_credentials = session.nonce
        return ((b'Authorization', value.encode('utf-8')),)

    async def handle_unauthorized(self, request: OutgoingRequest, response: HttpResponse) -> bool:
        """See Authorizer: it is the first challenge, or the nonce has expired. If the peer rejects a nonce that is
        still valid, username or password are wrong."""
        fields = [value for name, value in response.head.raw_headers if name.lower() == b'www-authenticate']
        challenges = parse_challenges(fields)
        strongest = strongest_challenge(challenges)
        if strongest is None:
            return False
        digests = [challenge.params for challenge in challenges if challenge.scheme == 'digest']
        stale = any(params.get('stale', '').lower() == 'true' for params in digests)
        if request.sent_credentials is not None and not stale and strongest.nonce == request.sent_credentials:
            return False
        self._session = DigestSession(strongest, self._username, self._password, self._cnonce())
        return True

    def handle_accepted(self, response: HttpResponse) -> None:
        """See Authorizer: the peer may name the next nonce (RFC 7616 §3.5)."""
        info = response.head.headers.get(b'authentication-info')
        session = self._session
        if info is not None and session is not None and (next_nonce := parse_parameters(info).get('nextnonce')):
            session.nonce, session.count = next_nonce, 0


def make_credentials(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return the outgoing credentials of a Digest authentication definition."""
    factory = partial(DigestAuthorizer, stored.value.username, stored.value.password)
    return OutgoingCredentials(make_authorizer=factory, requires_challenge=True)
