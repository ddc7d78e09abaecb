"""Client certificates (RFC 8446 §4.4.2): the listener asks for them and lets any in, here it is decided who that is.

The handshake has shown that the client has the key of its certificate. Whether the certificate is good is asked at the
time of each request, so that a definition that changes, a certificate that ends, or a list of revoked ones is in force
at once, on connections that were there before too. One that was found good costs a look into a dictionary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate
from twisted.logger import Logger

from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_OF_THEM, principal_of
from zatotx.pipeline.security.challenges import challenge_of
from zatotx.pipeline.security.principal_cache import PrincipalCache
from zatotx.rules.security.mtls import (
    CertificateTerms,
    UnacceptableCertificate,
    certificate_terms,
    expired_lists,
    parse_chain,
    valid_until,
)
from zatotx.schema.snapshot import Stored
from zatotx.wire.malformed import Malformed

REMEMBERED = 1_000  # good certificates kept a definition: a kilobyte or two each
_LISTS_ENDED = (
    'Mutual TLS definition {name!r} admits nobody: its list of revoked certificates has expired; give it the next one'
)
CHALLENGE = challenge_of('mtls')


class MtlsAuthenticator:
    """The check of one definition. `now`: seconds since 1970."""

    needs_body = False
    sort = 'mtls'
    claim = ANY_OF_THEM
    challenge = CHALLENGE
    _log = Logger()

    def __init__(self, stored: Stored, now: Callable[[], float] = time.time) -> None:
        self._stored = stored
        self._terms = self._terms_of(stored)
        self._known: PrincipalCache[bytes] = PrincipalCache(REMEMBERED)
        self._now = now
        self._lists_ended = False  # said in the log

    def claimed(self, inbound: Message) -> str | None:
        """Anybody's, where there is a certificate."""
        return ANY_OF_THEM if inbound.http is not None and inbound.http.certificates else None

    def check(self, inbound: Message) -> Principal:
        """The principal, at once. Raises Unauthorized."""
        sent = inbound.http.certificates if inbound.http is not None else ()
        if not sent:
            raise Unauthorized(inbound.cid, None, CHALLENGE)
        known = self._known.get(sent[0], self._now())
        return self._first_time(inbound, sent) if known is None else known

    def findings(self) -> Iterator[str]:
        """Lists of revoked certificates that have expired."""
        if self._terms is None:
            yield f'mutual TLS definition {self._stored.name!r} admits nobody, it is not valid any more: look at it'
            return
        for issuer in expired_lists(self._terms, self._now()):
            yield (f'mutual TLS definition {self._stored.name!r} admits nobody whom {issuer} has signed: its list of '
                   'revoked certificates has expired, give the definition the next one')  # fmt: skip

    def _first_time(self, inbound: Message, sent: Sequence[bytes]) -> Principal:
        try:
            own, *others = parse_chain(sent)
            if self._terms is None:
                raise UnacceptableCertificate('the definition is not valid')
            end = valid_until(own, others, self._terms, self._now())
        except UnacceptableCertificate as why:
            raise self._refused(inbound, why) from None
        self._lists_ended = False
        principal = principal_of(self._stored, own.subject.rfc4514_string(), _claims(own))
        self._known.keep(sent[0], principal, end)
        return principal

    def _refused(self, inbound: Message, why: UnacceptableCertificate) -> Unauthorized:
        name = self._stored.name
        if why.lists_ended and not self._lists_ended:
            self._lists_ended = True
            self._log.warn(_LISTS_ENDED, name=name)
        self._log.debug('{cid}: mutual TLS definition {name!r} refused a certificate: {why}', name=name,
                        cid=inbound.cid, why=str(why))  # fmt: skip
        return Unauthorized(inbound.cid, None, CHALLENGE)

    def _terms_of(self, stored: Stored) -> CertificateTerms | None:
        """Of a definition that was valid when it was stored; where a newer version is stricter, nobody is admitted."""
        try:
            return certificate_terms(stored.value)
        except Malformed as wrong:
            self._log.error('Mutual TLS definition {name!r} admits nobody: {wrong}', name=stored.name, wrong=str(wrong))
            return None


def _claims(own: Certificate) -> Mapping[str, Any]:
    """What the certificate says of its holder."""
    return {
        'subject': own.subject.rfc4514_string(),
        'issuer': own.issuer.rfc4514_string(),
        'serial_number': f'{own.serial_number:x}',
        'fingerprint': own.fingerprint(SHA256()).hex(),
        'not_valid_after': own.not_valid_after_utc.isoformat(),
    }
