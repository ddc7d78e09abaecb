"""What a protocol factory may ask of the listeners that serve it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IAddress
from zope.interface import Attribute, Interface


class IListenerOptions(Interface):
    """Provided by protocol factories that do not take a listener as it comes. Listeners of other factories have
    Twisted's own defaults."""

    application_protocols: Sequence[bytes] = Attribute(
        'What is agreed on with TLS clients that ask for a protocol (ALPN, RFC 7301), best first; none = not negotiated'
    )
    tls_ciphers: str = Attribute("OpenSSL's list of the cipher suites of TLS 1.2; '' = Twisted's own")

    def trusts_proxy(address: IAddress) -> bool:
        """Whether a PROXY protocol header of this peer is to be believed. Asked on `haproxy:` endpoints only."""
