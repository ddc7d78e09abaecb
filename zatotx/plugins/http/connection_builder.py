"""Builds the outgoing HTTP connections of a node, with the client and credentials that they share."""

from __future__ import annotations

import os
from collections.abc import Collection

from zatotx.connectors.outgoing_connections import Sources
from zatotx.connectors.security_type_registry import credentials_error, make_credentials
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.interfaces.security_type import OutgoingCredentials, UnusableCredentials
from zatotx.plugins.http.client.http_client import ClientEnvironment
from zatotx.plugins.http.rest.connection_factory import REST, BuildContext, build_connection
from zatotx.plugins.http.rest.oauth2 import CredentialsDependencies, TokenCache
from zatotx.plugins.http.rest.outgoing_connection import OutgoingConnection
from zatotx.plugins.http.soap.outgoing.soap_connection import SOAP
from zatotx.schema.security.definition import FOR_OUTGOING_REST, FOR_OUTGOING_SOAP
from zatotx.schema.snapshot import StoredObject

_NO_CREDENTIALS = OutgoingCredentials()


class ConnectionBuilder:
    """Builds outgoing HTTP connections. Connections with the same security definition share its credentials, such as an
    OAuth 2.0 token."""

    def __init__(self, context: OutgoingContext) -> None:
        self.environment = ClientEnvironment(context.reactor, context.run_in_thread, environ=os.environ)
        self.credentials: dict[
            str, tuple[StoredObject, OutgoingCredentials]
        ] = {}  # by the name of the security definition
        self._credentials_context = CredentialsDependencies(
            context.decrypt, environment=self.environment, token_cache=_token_cache(context)
        )
        self._component = context.client_name.encode('utf-8')

    def build_rest(
        self, stored: StoredObject, references: Sources, title: str, meter: IOutgoingMeter
    ) -> OutgoingConnection:
        """Build a REST connection: see ConnectionType.build."""
        credentials = self._credentials_of(references[0], FOR_OUTGOING_REST)
        return build_connection(stored.value, title, credentials, self._build_context(meter), REST)

    def build_soap(
        self, stored: StoredObject, references: Sources, title: str, meter: IOutgoingMeter
    ) -> OutgoingConnection:
        """Build a SOAP connection: see ConnectionType.build."""
        credentials = self._credentials_of(references[0], FOR_OUTGOING_SOAP)
        return build_connection(stored.value, title, credentials, self._build_context(meter), SOAP)

    def retain_credentials(self, names: Collection[str]) -> None:
        """Drop the credentials of all other definitions."""
        self.credentials = {name: entry for name, entry in self.credentials.items() if name in names}

    def _build_context(self, meter: IOutgoingMeter) -> BuildContext:
        return BuildContext(environment=self.environment, component=self._component, meter=meter)

    def _credentials_of(self, security: StoredObject | None, purpose: str) -> OutgoingCredentials:
        if security is None:
            return _NO_CREDENTIALS
        if error := credentials_error(security, purpose):
            raise UnusableCredentials(error)
        entry = self.credentials.get(security.name)
        if entry is None or entry[0].value != security.value or entry[0].type != security.type:
            entry = self.credentials[security.name] = security, make_credentials(security, self._credentials_context)
        return entry[1]


def _token_cache(context: OutgoingContext) -> TokenCache | None:
    if context.redis is None or context.leases is None:
        return None
    return TokenCache(redis=context.redis, leases=context.leases, make_key=context.redis_key, seal=context.encrypt,
                      unseal=context.decrypt, clock=context.reactor)
