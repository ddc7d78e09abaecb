"""Interface of a security type. A type is implemented by one module below zatotx/security/, which is found by
getPlugins and never imported by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import field, frozen
from twisted.plugin import IPlugin
from zope.interface import Attribute, implementer

from zatotx.schema.meta import ObjectType
from zatotx.schema.security.definition import FOR_CHANNELS, FOR_LOGINS, FOR_OUTGOING_REST, FOR_OUTGOING_SOAP
from zatotx.wire.soap.ws_security import UsernameToken

GENERIC_CHALLENGE = 'Basic realm="zatotx"'  # for unknown definitions


class UnusableCredentials(ValueError):  # noqa: N818 - what it is
    """No connection can use a security definition. The message gives the reason, and completes a sentence that begins
    with the name of the connection."""


@frozen(kw_only=True)
class OutgoingCredentials:
    """Adds the credentials of a security definition to the requests of an outgoing HTTP connection."""

    fields: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)  # header fields
    query: bytes = field(default=b'', repr=False)  # encoded query parameters
    # Creates the zatotx.plugins.http.rest.outgoing_sender_chain.Authorizer of a connection, for credentials that depend
    # on the request or on the peer's responses.
    make_authorizer: Callable[[], Any] | None = None
    requires_challenge: bool = False  # the peer always rejects a first request without credentials
    # Creates the token of one SOAP message.
    make_token: Callable[[], UsernameToken] | None = field(default=None, repr=False)


@frozen
class CredentialsContext:
    """The dependencies that are passed to factories of outgoing credentials."""

    decrypt: Callable[[str], str]  # decrypts the encrypted half of a dual secret


class ISecurityType(IPlugin):
    """The plugin interface of a security type."""

    object_type: ObjectType = Attribute('The object type of its definitions; its key names the security type')


def _generic_challenge(definition: Any) -> str:
    return GENERIC_CHALLENGE


def _no_query_parameters(definition: Any) -> Sequence[str]:
    return ()


@implementer(ISecurityType)
@frozen(kw_only=True)
class SecurityType:
    """The plugin object of a security type, defined in its module. Code that needs libraries is referred to by dotted
    paths, so that a server without such definitions does not load the libraries.

    Everything else is derived from it: which fields may refer to its definitions, authentication, challenges, the
    OpenAPI document, outgoing credentials, what the access log masks, and all that is derived from object types.
    """

    object_type: ObjectType  # of the section 'security'
    # 'package.module:factory', called with (StoredObject, AuthenticationDependencies) -> Authenticator, both of
    # zatotx.pipeline.security; '' = channels cannot use the type.
    authenticator: str = ''
    challenge: Callable[[Any], str] = _generic_challenge  # (definition) -> its challenge in WWW-Authenticate
    # (definition) -> its OpenAPI security scheme; None = the document mentions the definition in descriptions only.
    openapi_scheme: Callable[[Any], Mapping[str, Any]] | None = None
    # 'package.module:factory', called with (StoredObject, CredentialsContext) -> OutgoingCredentials; raises
    # UnusableCredentials. '' = outgoing connections cannot use the type.
    credentials: str = ''
    outgoing: Sequence[str] = (FOR_OUTGOING_REST, FOR_OUTGOING_SOAP)  # the connections that can send these credentials
    # (definition) -> names of the query parameters that carry its secret, which logs mask.
    query_parameters: Callable[[Any], Sequence[str]] = _no_query_parameters
    has_login: bool = False  # it is a user name and a password, with which clients of FTP log in
    is_for_channels: bool = True  # False: its definitions authenticate callers of the broker's own endpoints only
    requests_client_certificate: bool = False  # TLS listeners request client certificates while one is active

    @property
    def key(self) -> str:
        """Its stable identifier: 'basic_auth', 'apikey' …"""
        return self.object_type.key

    @property
    def purposes(self) -> frozenset[str]:
        """What its definitions can be used for, as in the `ref_purpose` of fields that refer to them."""
        channels = (FOR_CHANNELS,) if self.authenticator and self.is_for_channels else ()
        logins = (FOR_LOGINS,) if self.has_login else ()
        return frozenset((*channels, *logins, *(self.outgoing if self.credentials else ())))

    def usable_object_type(self) -> ObjectType:
        """Return the object type with the purposes of its definitions."""
        return msgspec.structs.replace(self.object_type, purposes=self.purposes)
