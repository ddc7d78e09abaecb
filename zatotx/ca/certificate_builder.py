"""Builds certificates and revocation lists (RFC 5280), signed with ECDSA over P-256 and SHA-256. Pure: the time, the
keys and the serial numbers are parameters.

Each certificate passes the strict checks of OpenSSL (`-x509_strict`) and of Python 3.13: critical BasicConstraints and
KeyUsage, key identifiers of subject and issuer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    Certificate,
    CertificateBuilder,
    CertificateRevocationList,
    CertificateRevocationListBuilder,
    CertificateSigningRequest,
    CertificateSigningRequestBuilder,
    CRLNumber,
    CRLReason,
    ExtendedKeyUsage,
    GeneralName,
    KeyUsage,
    Name,
    ObjectIdentifier,
    ReasonFlags,
    RevokedCertificateBuilder,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

CLOCK_SKEW = timedelta(minutes=5)  # by which validity begins earlier, for machines with slow clocks

_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class CertificateProfile(NamedTuple):
    """A certificate profile: the key usage and extensions of one type of certificate."""

    name: str  # as on the command line
    usages: tuple[ObjectIdentifier, ...]  # extended key usage
    hosts: tuple[str, ...] = ()  # default alternative names


LOCAL_HOSTS = ('localhost', '127.0.0.1', '::1')
# Only what calls the agent may authenticate as a client: a server's key is of no use against the load balancer.
PROFILES = {
    profile.name: profile
    for profile in (
        CertificateProfile('server', (_SERVER,), LOCAL_HOSTS),
        CertificateProfile('lb-agent', (_SERVER, _CLIENT), LOCAL_HOSTS),
        CertificateProfile('web-admin', (_SERVER, _CLIENT), LOCAL_HOSTS),
        CertificateProfile('client', (_CLIENT,)),
    )
}


class ValidityPeriod(NamedTuple):
    """The validity period of a certificate or revocation list."""

    start: datetime
    end: datetime


class CertificateIssuer(NamedTuple):
    """The certificate and key of a certificate authority, which sign other certificates."""

    certificate: Certificate
    key: CertificateIssuerPrivateKeyTypes


class CertificateTemplate(NamedTuple):
    """The content of a certificate without its key, serial number and validity period."""

    subject: Name
    usages: tuple[ObjectIdentifier, ...]
    alternative_names: tuple[GeneralName, ...] = ()


def make_key() -> EllipticCurvePrivateKey:
    """Generate a P-256 key."""
    return generate_private_key(SECP256R1())


def make_validity_period(now: datetime, days: int, limit: datetime | None = None) -> ValidityPeriod:
    """Return a validity period of `days` days that begins now and ends at `limit` at the latest."""
    end = now.replace(microsecond=0) + timedelta(days=days)
    return ValidityPeriod(now.replace(microsecond=0) - CLOCK_SKEW, end if limit is None else min(end, limit))


def build_authority(
    subject: Name, key: CertificateIssuerPrivateKeyTypes, serial: int, validity: ValidityPeriod
) -> Certificate:
    """Build the self-signed certificate of an authority that must not sign other authorities."""
    identifier = SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        CertificateBuilder(subject, subject, key.public_key(), serial, validity.start, validity.end)
        .add_extension(BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, SHA256())
    )


def build_certificate(
    template: CertificateTemplate,
    key: EllipticCurvePrivateKey,
    serial: int,
    validity: ValidityPeriod,
    issuer: CertificateIssuer,
) -> Certificate:
    """Build a certificate for `key`, signed by the issuer."""
    builder = (
        CertificateBuilder(
            issuer.certificate.subject, template.subject, key.public_key(), serial, validity.start, validity.end
        )
        .add_extension(BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(ExtendedKeyUsage(template.usages), critical=False)
        .add_extension(SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issuer_identifier(issuer), critical=False)
    )
    if template.alternative_names:
        builder = builder.add_extension(SubjectAlternativeName(template.alternative_names), critical=False)
    return builder.sign(issuer.key, SHA256())


def build_request(template: CertificateTemplate, key: EllipticCurvePrivateKey) -> CertificateSigningRequest:
    """Build a certificate signing request (PKCS #10), which another authority can sign."""
    builder = (
        CertificateSigningRequestBuilder(template.subject)
        .add_extension(BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(ExtendedKeyUsage(template.usages), critical=False)
    )
    if template.alternative_names:
        builder = builder.add_extension(SubjectAlternativeName(template.alternative_names), critical=False)
    return builder.sign(key, SHA256())


def template_of(certificate: Certificate) -> CertificateTemplate:
    """Return the template from which a certificate was built. Raises ExtensionNotFound if the certificate was built by
    other software."""
    extensions = certificate.extensions
    names = [each.value for each in extensions if isinstance(each.value, SubjectAlternativeName)]
    usages = extensions.get_extension_for_class(ExtendedKeyUsage).value
    return CertificateTemplate(certificate.subject, tuple(usages), tuple(names[0]) if names else ())


class RevokedCertificate(NamedTuple):
    """A revoked certificate: its serial number, time and reason."""

    serial: int
    revoked_at: datetime
    reason: ReasonFlags = ReasonFlags.unspecified


def build_revocation_list(
    revocations: Iterable[RevokedCertificate], number: int, validity: ValidityPeriod, issuer: CertificateIssuer
) -> CertificateRevocationList:
    """Build a certificate revocation list (RFC 5280 §5). `number` must be greater than the numbers of all earlier
    lists."""
    builder = (
        CertificateRevocationListBuilder(issuer.certificate.subject, validity.start, validity.end)
        .add_extension(_issuer_identifier(issuer), critical=False)
        .add_extension(CRLNumber(number), critical=False)
    )
    for revocation in revocations:
        entry = RevokedCertificateBuilder(revocation.serial, revocation.revoked_at)
        if revocation.reason is not ReasonFlags.unspecified:  # RFC 5280 §5.3.1: then the extension is left out
            entry = entry.add_extension(CRLReason(revocation.reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, SHA256())


def _issuer_identifier(issuer: CertificateIssuer) -> AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(SubjectKeyIdentifier).value
    return AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(*, signs_certificates: bool) -> KeyUsage:
    return KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
