"""The certificates that a client has sent on a TLS connection. They are not verified here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

_MAX_CERTIFICATES = 11  # of one client that are kept: one more than anything uses


def peer_certificates(transport: Any) -> Sequence[bytes]:
    """Return the client's certificates in DER, its own first; () if it sent none or was not asked for one."""
    own = transport.getPeerCertificate()
    if own is None:
        return ()
    certificates = [own.to_cryptography(), *(transport.getHandle().get_peer_cert_chain(as_cryptography=True) or ())]
    kept = certificates[:_MAX_CERTIFICATES]
    return tuple(dict.fromkeys(certificate.public_bytes(Encoding.DER) for certificate in kept))
