"""Builds an outgoing SOAP connection from its configuration."""

from __future__ import annotations

from typing import Any

from zatotx.plugins.http.rest.connection import ConnectionParts
from zatotx.plugins.http.rest.credentials import OutgoingCredentials
from zatotx.plugins.http.rest.factory import BuildContext, HttpConnectionType, make_request_template
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.envelopes import SoapRequestTemplate
from zatotx.plugins.http.soap.outgoing.response_parsing import is_server_failure
from zatotx.wire.soap.action import unquote_action
from zatotx.wire.soap.envelope import VERSIONS

_ACCEPTED = {'1.1': b'text/xml, application/xml', '1.2': b'application/soap+xml, application/xml'}


def _form(value: SoapOutgoing, credentials: OutgoingCredentials, context: BuildContext) -> SoapRequestTemplate:
    return make_request_template(
        SoapRequestTemplate,
        value,
        credentials,
        context,
        _ACCEPTED[value.soap_version],
        version=VERSIONS[value.soap_version],
        action=unquote_action(value.soap_action),
        make_token=credentials.make_token,
    )


def _connection(parts: ConnectionParts, reactor: Any, value: SoapOutgoing) -> SoapConnection:
    return SoapConnection(parts, reactor, config=value)


SOAP = HttpConnectionType(make_template=_form, make_connection=_connection, is_failure=is_server_failure)
