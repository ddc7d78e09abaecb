"""Interface with which a protocol factory sets options of its listeners."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IAddress
from zope.interface import Attribute, Interface


class IListenerOptionsProvider(Interface):
    """The interface of protocol factories that choose the options of their listeners. The listeners of other factories
    have Twisted's default options."""

    application_protocols: Sequence[bytes] = Attribute(
        'Protocols offered by ALPN (RFC 7301), most preferred first; empty = no negotiation'
    )
    tls_ciphers: str = Attribute("TLS 1.2 cipher suites in OpenSSL's format; '' = Twisted's default")

    def trusts_proxy(address: IAddress) -> bool:
        """Return whether to trust a PROXY protocol header from this peer. Called for `haproxy:` endpoints only."""
