"""Authenticates callers by their client certificates (RFC 8446 §4.4.2). The listener requests certificates and accepts
every certificate; this module validates them and determines the caller.

The handshake has proved that the client owns the private key. The certificate is validated for each request, so that a
changed definition, an expired certificate or a new revocation list takes effect at once, also on established
connections. The result is cached.
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
from zatotx.pipeline.security.authenticator import (
    ANY_DEFINITION,
    AuthenticationDependencies,
    PrincipalCache,
    make_principal,
)
from zatotx.rules.security.client_certificate_validation import (
    CertificateRequirements,
    ClientCertificateRejected,
    certificate_requirements,
    expired_revocation_lists,
    parse_client_certificate_chain,
    validate_client_certificate,
)
from zatotx.schema.snapshot import StoredObject
from zatotx.security.mtls import CHALLENGE
from zatotx.wire.malformed import Malformed

CACHE_SIZE = 1_000  # valid certificates cached per definition: one or two kilobytes each
_LISTS_EXPIRED = (
    'Mutual TLS definition {name!r} rejects all certificates: its revocation list has expired; update the list'
)


class MtlsAuthenticator:
    """Authenticates callers by one mutual TLS definition. `now` returns seconds since 1970."""

    needs_body = False
    scheme = 'mtls'
    lookup_key = ANY_DEFINITION
    challenge = CHALLENGE
    _log = Logger()

    def __init__(self, stored: StoredObject, now: Callable[[], float] = time.time) -> None:
        self._stored = stored
        self._terms = self._compile_terms(stored)
        self._known: PrincipalCache[bytes] = PrincipalCache(CACHE_SIZE)
        self._now = now
        self._expired_lists_logged = False  # whether the log says so already

    def extract_key(self, message: Message) -> str | None:
        """Return ANY_OF_THEM if there is a client certificate."""
        return ANY_DEFINITION if message.http is not None and message.http.certificates else None

    def check(self, message: Message) -> Principal:
        """Return the principal. Raises Unauthorized."""
        certificates = message.http.certificates if message.http is not None else ()
        if not certificates:
            raise Unauthorized(message.cid, None, CHALLENGE)
        known = self._known.get(certificates[0], self._now())
        return self._check_new(message, certificates) if known is None else known

    def findings(self) -> Iterator[str]:
        """Yield findings about invalid definitions and expired revocation lists."""
        if self._terms is None:
            yield f'mutual TLS definition {self._stored.name!r} rejects all certificates: it is invalid, correct it'
            return
        for issuer in expired_revocation_lists(self._terms, self._now()):
            yield (f'mutual TLS definition {self._stored.name!r} rejects certificates signed by {issuer}: its list of '
                   'revoked certificates has expired, update the list')  # fmt: skip

    def _check_new(self, message: Message, certificates: Sequence[bytes]) -> Principal:
        try:
            certificate, *intermediates = parse_client_certificate_chain(certificates)
            if self._terms is None:
                raise ClientCertificateRejected('the definition is not valid')
            valid_to = validate_client_certificate(certificate, intermediates, self._terms, self._now())
        except ClientCertificateRejected as error:
            raise self._reject(message, error) from None
        self._expired_lists_logged = False
        principal = make_principal(self._stored, certificate.subject.rfc4514_string(), _certificate_claims(certificate))
        self._known.store(certificates[0], principal, valid_to)
        return principal

    def _reject(self, message: Message, error: ClientCertificateRejected) -> Unauthorized:
        name = self._stored.name
        if error.is_crl_expired and not self._expired_lists_logged:
            self._expired_lists_logged = True
            self._log.warn(_LISTS_EXPIRED, name=name)
        self._log.debug('{cid}: mutual TLS definition {name!r} refused a certificate: {why}', name=name,
                        cid=message.cid, why=str(error))  # fmt: skip
        return Unauthorized(message.cid, None, CHALLENGE)

    def _compile_terms(self, stored: StoredObject) -> CertificateRequirements | None:
        """Compile a definition that was valid when it was stored. If a newer version is stricter, every certificate is
        rejected."""
        try:
            return certificate_requirements(stored.value)
        except Malformed as error:
            self._log.error(
                'Mutual TLS definition {name!r} rejects all certificates: {error}', name=stored.name, error=str(error)
            )
            return None


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> MtlsAuthenticator:
    """Create the authenticator of a mutual TLS definition."""
    return MtlsAuthenticator(stored)


def _certificate_claims(certificate: Certificate) -> Mapping[str, Any]:
    """Return the certificate's fields as claims of the principal."""
    return {
        'subject': certificate.subject.rfc4514_string(),
        'issuer': certificate.issuer.rfc4514_string(),
        'serial_number': f'{certificate.serial_number:x}',
        'fingerprint': certificate.fingerprint(SHA256()).hex(),
        'not_valid_after': certificate.not_valid_after_utc.isoformat(),
    }
