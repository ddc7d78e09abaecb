"""What a definition accepts of client certificates (RFC 5280), at a moment. Pure.

The chain of signatures is OpenSSL's to verify, with the constraints of authorities and their lists of revoked
certificates. Dates, names, uses and strength are ours: a store of OpenSSL's takes a moment once and never another one.
Sentences are for the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    ExtendedKeyUsage,
    ExtensionNotFound,
    ExtensionType,
    Name,
    SubjectAlternativeName,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from zatotx.rules.http.tls_errors import describe_certificate_error
from zatotx.schema.security import Mtls
from zatotx.wire.security.alternative_name import AlternativeName, alternative_names, parse_alternative_name
from zatotx.wire.security.certificates import read_certificates, read_fingerprint, read_revocation_lists
from zatotx.wire.security.distinguished_name import DistinguishedName, is_same, name_of, parse_name

MOST_SENT = 10  # certificates of one client that are looked at: chains are short
_LEAST_RSA = 2048  # bits
_FOR_CLIENTS = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_BROKEN = frozenset({'md5', 'sha1'})
_NO_DATES = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_OF_LISTS = {
    3: 'has no list of revoked certificates from who signed it, which the definition asks for',
    8: 'is on no list of revoked certificates that can be trusted: its signature is wrong',
}  # of OpenSSL's X509_V_ERR_*
_SIGNER = 'one that signed it'
_Extension = TypeVar('_Extension', bound=ExtensionType)


class UnacceptableCertificate(ValueError):  # noqa: N818 - what the certificate is
    """Why a certificate is refused. `lists_ended`: the definition's CRL has expired, which no client can help."""

    def __init__(self, why: str, *, lists_ended: bool = False) -> None:
        super().__init__(why)
        self.lists_ended = lists_ended


@frozen(eq=False)
class CertificateTerms:
    """What a definition asks of certificates."""

    subject: DistinguishedName  # () = any
    names: frozenset[AlternativeName]  # none = any
    fingerprints: frozenset[bytes]  # none = any
    stores: tuple[X509Store, ...]  # of authorities and lists, tried in this order; none = fingerprints alone
    lists: Mapping[Name, CertificateRevocationList]  # by the name of the authority


def certificate_terms(definition: Mtls) -> CertificateTerms:
    """The terms that the fields of a definition say. Raises Malformed for one that is not valid."""
    lists = tuple(read_revocation_lists(definition.crl)) if definition.crl else ()
    return CertificateTerms(
        subject=parse_name(definition.subject) if definition.subject else (),
        names=frozenset(map(parse_alternative_name, definition.san)),
        fingerprints=frozenset(map(read_fingerprint, definition.fingerprint)),
        stores=_stores(read_certificates(definition.ca), lists) if definition.ca else (),
        lists=_newest(lists),
    )


def _stores(authorities: Sequence[Certificate], lists: Sequence[CertificateRevocationList]) -> tuple[X509Store, ...]:
    """OpenSSL tries out one authority of a name. Where an authority has changed its key, or its own certificate was
    renewed, there are two: each gets a store."""
    stores: list[dict[Name, Certificate]] = []
    for each in authorities:
        free = next((store for store in stores if each.subject not in store), None)
        if free is None:
            stores.append({each.subject: each})
        else:
            free[each.subject] = each
    return tuple(_store(store.values(), lists) for store in stores)


def _store(authorities: Iterable[Certificate], lists: Sequence[CertificateRevocationList]) -> X509Store:
    store = X509Store()
    for each in authorities:
        store.add_cert(X509.from_cryptography(each))
    for listed in lists:
        store.add_crl(listed)
    # Whoever names an authority below another one, or the one certificate of a partner, means just that.
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN | _NO_DATES | (X509StoreFlags.CRL_CHECK if lists else 0))
    return store


def _newest(lists: Sequence[CertificateRevocationList]) -> Mapping[Name, CertificateRevocationList]:
    """The one of each authority that OpenSSL goes by."""
    return {each.issuer: each for each in sorted(lists, key=_made)}


def _made(listed: CertificateRevocationList) -> datetime:
    return listed.last_update_utc


def parse_chain(sent: Sequence[bytes]) -> list[Certificate]:
    """The certificates that a client sent, in DER, its own first. Raises Unacceptable."""
    if len(sent) > MOST_SENT:
        raise UnacceptableCertificate(f'more than {MOST_SENT} certificates were sent')
    try:
        return [load_der_x509_certificate(each) for each in sent]
    except ValueError:
        raise UnacceptableCertificate('it cannot be read') from None


def valid_until(own: Certificate, others: Sequence[Certificate], terms: CertificateTerms, now: float) -> float:
    """The moment from which the certificate is not accepted any more, or has to be looked at again. `others`: what the
    client sent beside its own. Moments are seconds since 1970. Raises Unacceptable."""
    try:
        _check_validity(own, now)
        _check_use(own)
        _check_names(own, terms)
        chain = _verified(own, others, terms, now) if terms.stores else [own]
    except UnacceptableCertificate:
        raise
    except Exception:  # of parsers, which read keys and extensions only when they are asked for
        raise UnacceptableCertificate('it cannot be read') from None
    ends = [each.not_valid_after_utc for each in chain]
    ends += [listed.next_update_utc for listed in _lists_of(chain, terms) if listed.next_update_utc is not None]
    return min(ends).timestamp()


def _check_validity(certificate: Certificate, now: float, who: str = 'it') -> None:
    if now < certificate.not_valid_before_utc.timestamp():
        raise UnacceptableCertificate(f'{who} is not valid yet')
    if now >= certificate.not_valid_after_utc.timestamp():
        raise UnacceptableCertificate(f'{who} has expired')


def _check_use(certificate: Certificate, who: str = 'it') -> None:
    """RFC 5280 §4.2.1.12: where uses are named, this must be one of them; and its key and signature must be worth
    something."""
    uses = _extension(certificate, ExtendedKeyUsage)
    if uses is not None and _FOR_CLIENTS.isdisjoint(uses):
        raise UnacceptableCertificate(f'{who} is not made for clients')
    key, hashed = certificate.public_key(), certificate.signature_hash_algorithm
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA:
        raise UnacceptableCertificate(f'{who} has an RSA key of {key.key_size} bits')
    if hashed is not None and hashed.name in _BROKEN:
        raise UnacceptableCertificate(f'{who} is signed with {hashed.name}')


def _check_names(own: Certificate, terms: CertificateTerms) -> None:
    if terms.subject and not is_same(terms.subject, name_of(own.subject)):
        raise UnacceptableCertificate('it has another subject')
    if terms.names:
        names = _extension(own, SubjectAlternativeName)
        if names is None or terms.names.isdisjoint(alternative_names(names)):
            raise UnacceptableCertificate('it has none of the alternative names')
    if terms.fingerprints and own.fingerprint(SHA256()) not in terms.fingerprints:
        raise UnacceptableCertificate('it has another fingerprint')


def _extension(certificate: Certificate, type_: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(type_).value
    except ExtensionNotFound:
        return None


def _verified(
    own: Certificate, others: Sequence[Certificate], terms: CertificateTerms, now: float
) -> list[Certificate]:
    """The chain from a client's certificate to one of the definition's."""
    failures = []
    for store in terms.stores:
        try:
            chain = _chain(own, others, store)
            for signer in chain[1:-1]:  # OpenSSL looks up the first one only: not every authority has a list
                _check_use(signer, _SIGNER)
                if signer.issuer in terms.lists:
                    _chain(signer, others, store, of_client=False)
            for each in chain[1:]:
                _check_validity(each, now, _SIGNER)
            for listed in _lists_of(chain, terms):
                _check_list(listed, now)
        except UnacceptableCertificate as failure:
            failures.append(failure)
        else:
            return chain
    raise failures[0]


def _chain(
    certificate: Certificate, others: Sequence[Certificate], store: X509Store, *, of_client: bool = True
) -> list[Certificate]:
    beside = list(map(X509.from_cryptography, others))
    try:
        chain = X509StoreContext(store, X509.from_cryptography(certificate), beside).get_verified_chain()
    except X509StoreContextError as error:
        code, depth = error.errors[:2]
        said = _OF_LISTS.get(code) or describe_certificate_error(code, of_peer=of_client and depth == 0)
        raise UnacceptableCertificate(f'it {said}') from None
    return [each.to_cryptography() for each in chain]


def _check_list(listed: CertificateRevocationList, now: float) -> None:
    if now < listed.last_update_utc.timestamp():
        raise UnacceptableCertificate('it cannot be looked up: the list of revoked certificates is not valid yet')
    if _has_ended(listed, now):
        raise UnacceptableCertificate(
            'it cannot be looked up: the list of revoked certificates has expired', lists_ended=True
        )


def expired_lists(terms: CertificateTerms, now: float) -> list[str]:
    """The authorities, by name, whose lists have expired."""
    return [issuer.rfc4514_string() for issuer, listed in terms.lists.items() if _has_ended(listed, now)]


def _has_ended(listed: CertificateRevocationList, now: float) -> bool:
    return listed.next_update_utc is not None and now >= listed.next_update_utc.timestamp()


def _lists_of(chain: Sequence[Certificate], terms: CertificateTerms) -> list[CertificateRevocationList]:
    """Those in which certificates of the chain are looked up."""
    return [terms.lists[name] for name in dict.fromkeys(each.issuer for each in chain) if name in terms.lists]
