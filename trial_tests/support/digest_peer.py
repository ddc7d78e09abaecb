"""A peer that asks for Digest Auth (RFC 7616) and is particular about it. It works the answers out by itself, so that
it agrees with a client only where both read the RFC alike; curl is the third opinion.
"""

from __future__ import annotations

import hashlib
import re
from secrets import token_hex

from attrs import define, field

from zatotx.plugins.http.test.upstream_servers import Peer, Request, says

_PARAM = re.compile(r'(\w+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')


@define
class DigestPeer:
    """`answer` is what an Upstream does with requests. `algorithms`: one challenge for each, in order."""

    username: str = 'Mufasa'
    password: str = 'Circle of Life'
    realm: str = 'http-auth@example.org'
    algorithms: tuple[str, ...] = ('SHA-256',)
    qop: str = 'auth'  # '' = as RFC 2069
    uses: int = 1000  # of a nonce, before it is stale
    userhash: bool = False
    announces: bool = False  # each answer says which nonce comes next
    opaque: str = 'x"y'
    known: dict[str, int] = field(factory=dict)  # nonce -> the last nc
    refused: list[str] = field(factory=list)  # why
    challenged: int = 0

    def answer(self, peer: Peer, request: Request) -> None:
        """Let it in, or challenge it."""
        why = self._mistake(request)
        if why:
            self.refused.append(why)
            self._challenge(peer, request, stale=why == 'stale')
            return
        lines = []
        if self.announces:
            following = self._nonce()
            lines = [f'Authentication-Info: nextnonce="{following}", qop=auth'.encode()]
        says(b'200 OK', b'in:' + request.body, *lines)(peer, request)

    def _challenge(self, peer: Peer, request: Request, *, stale: bool) -> None:
        self.challenged += 1
        lines = []
        for algorithm in self.algorithms:
            opaque = self.opaque.replace('"', '\\"')
            said = f'WWW-Authenticate: Digest realm="{self.realm}", nonce="{self._nonce()}", opaque="{opaque}"'
            said += f', algorithm={algorithm}' if algorithm else ''
            said += f', qop="{self.qop}"' if self.qop else ''
            said += ', userhash=true' if self.userhash else ''
            lines.append((said + (', stale=true' if stale else '')).encode())
        says(b'401 Unauthorized', b'who?', *lines)(peer, request)

    def _nonce(self) -> str:
        nonce = token_hex(8)
        self.known[nonce] = 0
        return nonce

    def _mistake(self, request: Request) -> str:
        """What is wrong with the credentials of a request, '' for nothing."""
        field_value = request.headers.get(b'authorization', b'').decode()
        if not field_value.startswith('Digest '):
            return 'none'
        given = {name: quoted.replace('\\"', '"') or bare for name, quoted, bare in _PARAM.findall(field_value)}
        nonce = given['nonce']
        if nonce not in self.known:
            return 'unknown nonce'
        if given['uri'].encode() != request.target or given['realm'] != self.realm or given['opaque'] != self.opaque:
            return 'not what was asked'
        if self.qop:
            count = int(given['nc'], 16)
            if count <= self.known[nonce]:
                return 'nc again'
            self.known[nonce] = count
            if count > self.uses:
                return 'stale'
        return '' if given['response'] == self._expected(given, request) else 'wrong response'

    def _expected(self, given: dict[str, str], request: Request) -> str:
        algorithm = given.get('algorithm', 'MD5').upper()
        session = algorithm.endswith('-SESS')
        name = {'MD5': 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512_256'}[algorithm.removesuffix('-SESS')]

        def digest(text: str) -> str:
            return hashlib.new(name, text.encode()).hexdigest()

        if self.userhash and given['username'] != digest(f'{self.username}:{self.realm}'):
            return ''
        secret = digest(f'{self.username}:{self.realm}:{self.password}')
        if session:
            secret = digest(f'{secret}:{given["nonce"]}:{given["cnonce"]}')
        what = digest(f'{request.method.decode()}:{given["uri"]}')
        middle = f'{given["nc"]}:{given["cnonce"]}:{given["qop"]}:' if self.qop else ''
        return digest(f'{secret}:{given["nonce"]}:{middle}{what}')


