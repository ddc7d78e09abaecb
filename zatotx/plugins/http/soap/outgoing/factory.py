"""A SOAP connection made of its configuration."""

from __future__ import annotations

from typing import Any

from zatotx.plugins.http.rest.connection import Parts
from zatotx.plugins.http.rest.credentials import Identity
from zatotx.plugins.http.rest.factory import Craft, Workshop, form_fields
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.connection import SoapConnection
from zatotx.plugins.http.soap.outgoing.envelopes import SoapForm
from zatotx.plugins.http.soap.outgoing.response_parsing import is_unwell
from zatotx.wire.soap.action import unquoted
from zatotx.wire.soap.envelope import VERSIONS

_ACCEPTED = {'1.1': b'text/xml, application/xml', '1.2': b'application/soap+xml, application/xml'}


def _form(value: SoapOutgoing, identity: Identity, workshop: Workshop) -> SoapForm:
    fields = form_fields(value, identity, workshop, _ACCEPTED[value.soap_version])
    return SoapForm(**fields, version=VERSIONS[value.soap_version], action=unquoted(value.soap_action),
                    token=identity.token)


def _connection(parts: Parts, reactor: Any, value: SoapOutgoing) -> SoapConnection:
    return SoapConnection(parts, reactor, config=value)


SOAP = Craft(form=_form, connection=_connection, is_failure=is_unwell)
