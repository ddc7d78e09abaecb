"""Validates client certificates (RFC 5280) against a mutual TLS security definition. Pure: no I/O.

OpenSSL verifies the chain of signatures, constraints of authorities and revocation lists. Dates, names, key usage and
key strength are checked here, because the verification time of an OpenSSL store cannot be changed. Error messages are
for the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    ExtendedKeyUsage,
    ExtensionNotFound,
    ExtensionType,
    InvalidVersion,
    Name,
    SubjectAlternativeName,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from zatotx.rules.http.tls_errors import describe_certificate_error
from zatotx.wire.certificates import (
    AlternativeName,
    DistinguishedName,
    certificate_alternative_names,
    is_same_name,
    parse_alternative_name,
    parse_certificate_name,
    parse_certificates,
    parse_fingerprint,
    parse_name,
    parse_revocation_lists,
)

MAX_CERTIFICATES = 10  # maximum number of certificates accepted from a client
_MIN_RSA_BITS = 2048  # bits
_CLIENT_USAGES = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_WEAK_HASHES = frozenset({'md5', 'sha1'})
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_CRL_ERRORS = {
    3: 'has no list of revoked certificates from who signed it, which the definition asks for',
    8: 'is on no list of revoked certificates that can be trusted: its signature is wrong',
}  # of OpenSSL's X509_V_ERR_*
_ISSUER = 'one that signed it'
_Extension = TypeVar('_Extension', bound=ExtensionType)


class ClientCertificateRejected(ValueError):  # noqa: N818 - named for the condition
    """A client certificate is rejected. The message gives the reason. `is_crl_expired` says whether the cause is that
    the definition's CRL has expired, which the client cannot change."""

    def __init__(self, reason: str, *, is_crl_expired: bool = False) -> None:
        super().__init__(reason)
        self.is_crl_expired = is_crl_expired


@frozen(eq=False)
class CertificateRequirements:
    """The requirements that a mutual TLS security definition places on client certificates."""

    subject: DistinguishedName  # () = any
    alternative_names: frozenset[AlternativeName]  # empty = any
    fingerprints: frozenset[bytes]  # empty = any
    stores: tuple[X509Store, ...]  # of authorities and CRLs, tried in this order; () = only fingerprints are checked
    revocation_lists: Mapping[Name, CertificateRevocationList]  # CRLs by name of the authority


class CertificateDefinition(Protocol):
    """The fields of a mutual TLS security definition."""

    @property
    def subject(self) -> str: ...
    @property
    def san(self) -> Sequence[str]: ...
    @property
    def ca(self) -> str: ...
    @property
    def fingerprint(self) -> Sequence[str]: ...
    @property
    def crl(self) -> str: ...


def certificate_requirements(definition: CertificateDefinition) -> CertificateRequirements:
    """Return the requirements of a mutual TLS security definition. Raises Malformed for an invalid field."""
    lists = tuple(parse_revocation_lists(definition.crl)) if definition.crl else ()
    return CertificateRequirements(
        subject=parse_name(definition.subject) if definition.subject else (),
        alternative_names=frozenset(map(parse_alternative_name, definition.san)),
        fingerprints=frozenset(map(parse_fingerprint, definition.fingerprint)),
        stores=_stores(parse_certificates(definition.ca), lists) if definition.ca else (),
        revocation_lists=_newest_by_issuer(lists),
    )


def _stores(authorities: Sequence[Certificate], lists: Sequence[CertificateRevocationList]) -> tuple[X509Store, ...]:
    """Return as many stores as necessary: OpenSSL tries only one certificate per authority name, but there may be two
    if an authority has changed its key or renewed its certificate."""
    stores: list[dict[Name, Certificate]] = []
    for authority in authorities:
        available = next((store for store in stores if authority.subject not in store), None)
        if available is None:
            stores.append({authority.subject: authority})
        else:
            available[authority.subject] = authority
    return tuple(_store(store.values(), lists) for store in stores)


def _store(authorities: Iterable[Certificate], lists: Sequence[CertificateRevocationList]) -> X509Store:
    store = X509Store()
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    for crl in lists:
        store.add_crl(crl)
    # A configured intermediate authority, or a partner's own certificate, is itself the trust anchor.
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN | _NO_CHECK_TIME | (X509StoreFlags.CRL_CHECK if lists else 0))
    return store


def _newest_by_issuer(lists: Sequence[CertificateRevocationList]) -> Mapping[Name, CertificateRevocationList]:
    """Return the CRL of each authority that OpenSSL uses."""
    return {crl.issuer: crl for crl in sorted(lists, key=_issued_at)}


def _issued_at(crl: CertificateRevocationList) -> datetime:
    return crl.last_update_utc


def parse_client_certificate_chain(sent: Sequence[bytes]) -> list[Certificate]:
    """Parse the DER certificates that a client sent, with its own certificate first. Raises
    ClientCertificateRejected."""
    if len(sent) > MAX_CERTIFICATES:
        raise ClientCertificateRejected(f'more than {MAX_CERTIFICATES} certificates were sent')
    try:
        return [load_der_x509_certificate(der) for der in sent]
    except (ValueError, InvalidVersion):
        raise ClientCertificateRejected('it cannot be read') from None


def validate_client_certificate(
    client_certificate: Certificate,
    intermediates: Sequence[Certificate],
    requirements: CertificateRequirements,
    now: float,
) -> float:
    """Validate a client certificate. Returns the time at which it expires or must be validated again. `intermediates`
    are the other certificates that the client sent. Times are in seconds since 1970. Raises
    ClientCertificateRejected."""
    try:
        _check_validity(client_certificate, now)
        _check_use(client_certificate)
        _check_names(client_certificate, requirements)
        chain = (
            _verify(client_certificate, intermediates, requirements, now)
            if requirements.stores
            else [client_certificate]
        )
    except ClientCertificateRejected:
        raise
    except Exception:  # cryptography parses keys and extensions on access
        raise ClientCertificateRejected('it cannot be read') from None
    ends = [certificate.not_valid_after_utc for certificate in chain]
    ends += [crl.next_update_utc for crl in _crls_for_chain(chain, requirements) if crl.next_update_utc is not None]
    return min(ends).timestamp()


def _check_validity(certificate: Certificate, now: float, label: str = 'it') -> None:
    if now < certificate.not_valid_before_utc.timestamp():
        raise ClientCertificateRejected(f'{label} is not valid yet')
    if now >= certificate.not_valid_after_utc.timestamp():
        raise ClientCertificateRejected(f'{label} has expired')


def _check_use(certificate: Certificate, label: str = 'it') -> None:
    """Check the extended key usage (RFC 5280 §4.2.1.12), and the strength of key and signature."""
    uses = _extension(certificate, ExtendedKeyUsage)
    if uses is not None and _CLIENT_USAGES.isdisjoint(uses):
        raise ClientCertificateRejected(f'{label} is not made for clients')
    key, signature_hash = certificate.public_key(), certificate.signature_hash_algorithm
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise ClientCertificateRejected(f'{label} has an RSA key of {key.key_size} bits')
    if signature_hash is not None and signature_hash.name in _WEAK_HASHES:
        raise ClientCertificateRejected(f'{label} is signed with {signature_hash.name}')


def _check_names(own: Certificate, terms: CertificateRequirements) -> None:
    if terms.subject and not is_same_name(terms.subject, parse_certificate_name(own.subject)):
        raise ClientCertificateRejected('it has another subject')
    if terms.alternative_names:
        names = _extension(own, SubjectAlternativeName)
        if names is None or terms.alternative_names.isdisjoint(certificate_alternative_names(names)):
            raise ClientCertificateRejected('it has none of the alternative names')
    if terms.fingerprints and own.fingerprint(SHA256()) not in terms.fingerprints:
        raise ClientCertificateRejected('it has another fingerprint')


def _extension(certificate: Certificate, type_: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(type_).value
    except ExtensionNotFound:
        return None


def _verify(
    own: Certificate, intermediates: Sequence[Certificate], terms: CertificateRequirements, now: float
) -> list[Certificate]:
    """Return the verified chain from the client's certificate to one of the definition's."""
    failures = []
    for store in terms.stores:
        try:
            chain = _chain(own, intermediates, store)
            for signer in chain[1:-1]:  # OpenSSL looks up only the first one: not every authority has a CRL
                _check_use(signer, _ISSUER)
                if signer.issuer in terms.revocation_lists:
                    _chain(signer, intermediates, store, of_client=False)
            for certificate in chain[1:]:
                _check_validity(certificate, now, _ISSUER)
            for crl in _crls_for_chain(chain, terms):
                _check_crl(crl, now)
        except ClientCertificateRejected as failure:
            failures.append(failure)
        else:
            return chain
    raise failures[0]


def _chain(
    certificate: Certificate, extra_certificates: Sequence[Certificate], store: X509Store, *, of_client: bool = True
) -> list[Certificate]:
    intermediates = list(map(X509.from_cryptography, extra_certificates))
    try:
        chain = X509StoreContext(store, X509.from_cryptography(certificate), intermediates).get_verified_chain()
    except X509StoreContextError as error:
        code, depth = error.errors[:2]
        reason = _CRL_ERRORS.get(code) or describe_certificate_error(code, of_peer=of_client and depth == 0)
        raise ClientCertificateRejected(f'it {reason}') from None
    return [verified.to_cryptography() for verified in chain]


def _check_crl(crl: CertificateRevocationList, now: float) -> None:
    if now < crl.last_update_utc.timestamp():
        raise ClientCertificateRejected('it cannot be looked up: the list of revoked certificates is not valid yet')
    if _has_expired(crl, now):
        raise ClientCertificateRejected(
            'it cannot be looked up: the list of revoked certificates has expired', is_crl_expired=True
        )


def expired_revocation_lists(requirements: CertificateRequirements, now: float) -> list[str]:
    """Return the names of the certificate authorities whose CRLs have expired."""
    return [issuer.rfc4514_string() for issuer, crl in requirements.revocation_lists.items() if _has_expired(crl, now)]


def _has_expired(crl: CertificateRevocationList, now: float) -> bool:
    return crl.next_update_utc is not None and now >= crl.next_update_utc.timestamp()


def _crls_for_chain(chain: Sequence[Certificate], terms: CertificateRequirements) -> list[CertificateRevocationList]:
    """Return the CRLs of the issuers in the chain."""
    issuers = dict.fromkeys(certificate.issuer for certificate in chain)
    return [terms.revocation_lists[name] for name in issuers if name in terms.revocation_lists]
