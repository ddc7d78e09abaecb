"""What went wrong with TLS, in words: OpenSSL's own are for those who know it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_UNTRUSTED = 'is not signed by an authority that is trusted here'

# X509_V_ERR_* of OpenSSL (openssl-verification-options, x509_vfy.h): what is said of a certificate.
_VERDICTS = {
    2: _UNTRUSTED, 20: _UNTRUSTED, 21: _UNTRUSTED, 27: _UNTRUSTED, 24: _UNTRUSTED, 22: _UNTRUSTED,
    18: 'is signed by itself, and is not itself trusted here',
    19: 'is signed by an authority of the peer\'s own, which is not trusted here',
    7: 'is not signed by the authority that it names',
    9: 'is not valid yet', 10: 'has expired', 23: 'was revoked', 26: 'is not made for servers',
    66: 'has too weak a key', 67: 'is signed by an authority with too weak a key', 68: 'is signed with too weak a hash',
}  # fmt: skip

# Parts of OpenSSL's reasons for the end of a handshake, the telling ones first: what is said of the peer.
_REASONS = (
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
# What a peer may say of us after our part of the handshake is over (RFC 8446 §4.4.2.4): it comes as the answer.
_LATE = _REASONS[:8]


def describe_certificate_error(code: int, *, of_peer: bool) -> str:
    """What is wrong with a certificate by the code that OpenSSL gives a verify callback; `of_peer` = the peer's own,
    and not one that signed it. 'has expired'."""
    words = _VERDICTS.get(code, f'is not acceptable (error {code} of OpenSSL)')
    return words if of_peer or words is _UNTRUSTED else f'rests on one that {words}'


def describe_handshake_error(reasons: Sequence[str]) -> str:
    """What is wrong with a peer by the reasons of OpenSSL's errors: 'does not speak TLS: it may be plain HTTP'."""
    return _found(reasons, _REASONS) or f'ended the TLS handshake ({", ".join(reasons) or "without a word"})'


def describe_late_handshake_error(reasons: Sequence[str]) -> str:
    """What a peer says of our certificate once we thought the handshake over; '' where it is something else."""
    return _found(reasons, _LATE)


def _found(reasons: Sequence[str], table: Sequence[tuple[str, str]]) -> str:
    said = ' '.join(reasons).lower()
    return next((words for part, words in table if part in said), '')
