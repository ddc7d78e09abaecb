"""Reads the certificates that the peer of a TLS connection has sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

_MAX_CERTIFICATES = 11  # of one client that are kept: one more than anything uses


def peer_certificates(transport: Any) -> Sequence[bytes]:
    """Return the DER certificates that the client has sent, with its own certificate first. The certificates are not
    verified. Returns () if the client sent none or was not asked for one."""
    own = transport.getPeerCertificate()
    if own is None:
        return ()
    certificates = [own.to_cryptography(), *(transport.getHandle().get_peer_cert_chain(as_cryptography=True) or ())]
    kept = certificates[:_MAX_CERTIFICATES]
    return tuple(dict.fromkeys(certificate.public_bytes(Encoding.DER) for certificate in kept))
