"""Converts OpenSSL's TLS errors to readable descriptions. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Sequence

_UNTRUSTED = 'is not signed by an authority that is trusted here'

# X509_V_ERR_* of OpenSSL (openssl-verification-options, x509_vfy.h): clauses about a certificate.
_CERTIFICATE_ERRORS = {
    2: _UNTRUSTED, 20: _UNTRUSTED, 21: _UNTRUSTED, 27: _UNTRUSTED, 24: _UNTRUSTED, 22: _UNTRUSTED,
    18: 'is signed by itself, and is not itself trusted here',
    19: 'is signed by an authority of the peer\'s own, which is not trusted here',
    7: 'is not signed by the authority that it names',
    9: 'is not valid yet', 10: 'has expired', 23: 'was revoked', 26: 'is not made for servers',
    66: 'has too weak a key', 67: 'is signed by an authority with too weak a key', 68: 'is signed with too weak a hash',
}  # fmt: skip

# Parts of OpenSSL's handshake errors, the most specific first: clauses about the peer.
_HANDSHAKE_ERRORS = (
    ('certificate required', 'wants a client certificate'),
    ('alert unknown ca', 'does not accept our client certificate: it does not know who signed it'),
    ('alert certificate expired', 'does not accept our client certificate: it has expired'),
    ('alert certificate revoked', 'does not accept our client certificate: it was revoked'),
    ('alert certificate unknown', 'does not accept our client certificate'),
    ('alert bad certificate', 'does not accept our client certificate'),
    ('alert unsupported certificate', 'does not accept our client certificate'),
    ('alert access denied', 'does not accept our client certificate'),
    ('alert unrecognized name', 'does not serve that name'),
    ('unrecognized name', 'does not serve that name'),
    ('alert no application protocol', 'does not speak HTTP/1.1'),
    ('no application protocol', 'does not speak HTTP/1.1'),
    ('protocol version', 'speaks no TLS from 1.2 on'),
    ('unsupported protocol', 'speaks no TLS from 1.2 on'),
    ('alert handshake failure', 'ended the TLS handshake: it wants a client certificate, or other ciphers'),
    ('insufficient security', 'wants other ciphers'),
    ('no shared cipher', 'wants other ciphers'),
    ('dh key too small', 'uses too weak a key'),
    ('wrong version number', 'does not speak TLS: it may be plain HTTP'),
    ('packet length too long', 'does not speak TLS: it may be plain HTTP'),
    ('record layer failure', 'does not speak TLS: it may be plain HTTP'),
    ('http request', 'does not speak TLS: it may be plain HTTP'),
)
# Alerts that may arrive after the client has finished its handshake (RFC 8446 §4.4.2.4), in place of a response.
_LATE_ALERTS = _HANDSHAKE_ERRORS[:8]


def describe_certificate_error(code: int, *, of_peer: bool) -> str:
    """Describe a certificate error, for example as 'has expired'. `code` is the error code that OpenSSL passes to a
    verify callback. `of_peer` says whether the certificate is the peer's own or that of an issuer."""
    description = _CERTIFICATE_ERRORS.get(code, f'is not acceptable (error {code} of OpenSSL)')
    return description if of_peer or description is _UNTRUSTED else f'rests on one that {description}'


def describe_handshake_error(reasons: Sequence[str]) -> str:
    """Describe a TLS handshake error, for example as 'does not speak TLS: it may be plain HTTP'. `reasons` are
    OpenSSL's error reasons."""
    description = _find_description(reasons, _HANDSHAKE_ERRORS)
    return description or f'ended the TLS handshake ({", ".join(reasons) or "without a word"})'


def describe_late_handshake_error(reasons: Sequence[str]) -> str:
    """Describe the peer's rejection of the local certificate after the handshake; return '' for other errors."""
    return _find_description(reasons, _LATE_ALERTS)


def _find_description(reasons: Sequence[str], table: Sequence[tuple[str, str]]) -> str:
    text = ' '.join(reasons).lower()
    return next((description for part, description in table if part in text), '')
