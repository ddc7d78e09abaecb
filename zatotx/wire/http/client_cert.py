"""Reads and writes the fields Client-Cert and Client-Cert-Chain (RFC 9440), in which a proxy forwards the certificate
of a TLS client that it has verified. No I/O.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

from zatotx.wire.malformed import Malformed

_CERTIFICATE, _CHAIN = b'client-cert', b'client-cert-chain'
_MAX_CERTIFICATES = 10


def write_client_cert(certificates: Sequence[bytes]) -> bytes:
    """Return the field lines for DER certificates, with the client's own certificate first, or b'' if there are no
    certificates."""
    if not certificates:
        return b''
    own, *chain = (b':%b:' % b64encode(certificate) for certificate in certificates)
    lines = b'Client-Cert: %b\r\n' % own
    return lines + b'Client-Cert-Chain: %b\r\n' % b', '.join(chain) if chain else lines


def parse_client_cert(headers: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Parse the fields Client-Cert and Client-Cert-Chain. Returns the DER certificates, with the client's own
    certificate first, or () if the fields are missing. Raises Malformed.

    `headers` by lower-case name, repeated ones joined by commas: Client-Cert must not be repeated.
    """
    own = headers.get(_CERTIFICATE)
    if own is None:
        if _CHAIN in headers:
            raise Malformed('Client-Cert-Chain stands without Client-Cert')
        return ()
    chain = headers.get(_CHAIN)
    items = [] if chain is None else chain.split(b',')
    if len(items) >= _MAX_CERTIFICATES:
        raise Malformed(f'Client-Cert-Chain has more than {_MAX_CERTIFICATES - 1} certificates')
    return tuple(_parse_binary(item) for item in (own, *items))


def _parse_binary(text: bytes) -> bytes:
    """Parse a byte sequence of structured fields (RFC 8941 §3.3.5)."""
    text = text.strip(b' \t')
    if len(text) < 3 or text[:1] != b':' or text[-1:] != b':':
        raise Malformed('Client-Cert is not one byte sequence between colons')
    try:
        return b64decode(text[1:-1], validate=True)
    except binascii.Error:
        raise Malformed('Client-Cert is not valid base64') from None
