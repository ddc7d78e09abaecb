"""The certificates that a client has shown on a TLS connection. What they are worth is for others to judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

_MOST = 11  # certificates of one client that are kept: one more than anybody looks at


def peer_certificates(transport: Any) -> Sequence[bytes]:
    """In DER, the client's own first; none where it has sent none, or was not asked to."""
    own = transport.getPeerCertificate()
    if own is None:
        return ()
    found = [own.to_cryptography(), *(transport.getHandle().get_peer_cert_chain(as_cryptography=True) or ())]
    return tuple(dict.fromkeys(each.public_bytes(Encoding.DER) for each in found[:_MOST]))
