"""HTTP Digest Auth (RFC 7616) as a client: one challenge, answered from then on before it is put again.

MD5, SHA-256 and SHA-512-256, each with and without -sess; qop auth, and none as old servers have it (RFC 2069).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from secrets import token_hex
from urllib.parse import quote

from attrs import define, field, frozen

from zatotx.plugins.http.client.call import Fields, HttpResponse
from zatotx.plugins.http.rest.request_builder import Request
from zatotx.wire.http.challenge import Challenge, parse_challenges, parse_parameters, quote_string

# The names of RFC 7616 §3.3 and what they are called in hashlib, the strongest first.
_HASHES = {'SHA-512-256': 'sha512_256', 'SHA-256': 'sha256', 'MD5': 'md5'}
_KNOWN = [name for name, called in _HASHES.items() if called in hashlib.algorithms_available]
_SESSION = '-SESS'


@frozen(kw_only=True)
class DigestChallenge:
    """A challenge that can be answered."""

    realm: str
    nonce: str
    opaque: str | None
    algorithm: str  # as the peer wrote it; '' = it named none, which means MD5
    qop: bool
    userhash: bool

    @property
    def hash(self) -> str:
        """One of _KNOWN."""
        return self.algorithm.upper().removesuffix(_SESSION) or 'MD5'

    @property
    def session(self) -> bool:
        """Whether the secret is hashed for one session only."""
        return self.algorithm.upper().endswith(_SESSION)


def strongest_challenge(found: Iterable[Challenge]) -> DigestChallenge | None:
    """The challenge with the best hash that is known here, the first of several (RFC 7616 §3.7); None = there is
    none."""
    asked = [one for challenge in found if (one := _asked(challenge)) is not None]
    return min(asked, key=lambda one: _KNOWN.index(one.hash), default=None)


def _asked(challenge: Challenge) -> DigestChallenge | None:
    params = challenge.params
    if challenge.scheme != 'digest' or 'nonce' not in params or 'realm' not in params:
        return None
    qops = [qop.strip().lower() for qop in params.get('qop', '').split(',')]
    if 'qop' in params and 'auth' not in qops:
        return None
    asked = DigestChallenge(
        realm=params['realm'], nonce=params['nonce'], opaque=params.get('opaque'),
        algorithm=params.get('algorithm', ''), qop='qop' in params,
        userhash=params.get('userhash', '').lower() == 'true',
    )  # fmt: skip
    return asked if asked.hash in _KNOWN else None


@define
class DigestSession:
    """What is answered with from one challenge on: a nonce, and how often it was used."""

    asked: DigestChallenge
    username: str
    password: str = field(repr=False)
    cnonce: str = field(factory=lambda: token_hex(16))
    nonce: str = field(init=False)
    count: int = 0
    _secret: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.nonce = self.asked.nonce
        secret = self._hash(f'{self.username}:{self.asked.realm}:{self.password}')
        self._secret = self._hash(f'{secret}:{self.nonce}:{self.cnonce}') if self.asked.session else secret

    def authorization(self, method: str, target: str) -> str:
        """The next Authorization field, of a request for that target."""
        asked = self.asked
        self.count += 1
        nc = f'{self.count:08x}'
        what = self._hash(f'{method}:{target}')
        middle = f'{nc}:{self.cnonce}:auth:' if asked.qop else ''
        response = self._hash(f'{self._secret}:{self.nonce}:{middle}{what}')
        fields = [
            self._named(),
            f'realm={quote_string(asked.realm)}',
            f'nonce={quote_string(self.nonce)}',
            f'uri={quote_string(target)}',
        ]
        if asked.algorithm:
            fields.append(f'algorithm={asked.algorithm}')
        fields.append(f'response="{response}"')
        if asked.opaque is not None:
            fields.append(f'opaque={quote_string(asked.opaque)}')
        if asked.qop:
            fields += ['qop=auth', f'nc={nc}']
        if asked.qop or asked.session:
            fields.append(f'cnonce="{self.cnonce}"')
        if asked.userhash:
            fields.append('userhash=true')
        return f'Digest {", ".join(fields)}'

    def _named(self) -> str:
        if self.asked.userhash:
            return f'username="{self._hash(f"{self.username}:{self.asked.realm}")}"'
        if self.username.isascii():
            return f'username={quote_string(self.username)}'
        return f"username*=UTF-8''{quote(self.username, safe='')}"

    def _hash(self, text: str) -> str:
        return hashlib.new(_HASHES[self.asked.hash], text.encode('utf-8'), usedforsecurity=False).hexdigest()


class DigestAuthorizer:
    """An Authorizer for the requests of one connection."""

    def __init__(self, username: str, password: str, cnonce: Callable[[], str] = lambda: token_hex(16)) -> None:
        self._username, self._password, self._cnonce = username, password, cnonce
        self._session: DigestSession | None = None

    async def credentials(self, request: Request) -> Fields:
        """See Authorizer: none until the peer has asked for some."""
        session = self._session
        if session is None:
            request.proof = None
            return ()
        value = session.authorization(request.method, request.target.decode('ascii'))
        request.proof = session.nonce
        return ((b'Authorization', value.encode('utf-8')),)

    async def refused(self, request: Request, answer: HttpResponse) -> bool:
        """See Authorizer: it asked, or its nonce is used up. Where it refuses a nonce that it still knows, it is name
        or password that it does not like."""
        fields = [value for name, value in answer.head.raw_headers if name.lower() == b'www-authenticate']
        found = parse_challenges(fields)
        asked = strongest_challenge(found)
        if asked is None:
            return False
        stale = any(one.params.get('stale', '').lower() == 'true' for one in found if one.scheme == 'digest')
        if request.proof is not None and not stale and asked.nonce == request.proof:
            return False
        self._session = DigestSession(asked, self._username, self._password, self._cnonce())
        return True

    def accepted(self, answer: HttpResponse) -> None:
        """See Authorizer: the peer may have said which nonce comes next (RFC 7616 §3.5)."""
        info = answer.head.headers.get(b'authentication-info')
        session = self._session
        if info is not None and session is not None and (following := parse_parameters(info).get('nextnonce')):
            session.nonce, session.count = following, 0
