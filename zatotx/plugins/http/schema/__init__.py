"""The object types of the HTTP kind, one per module."""

from __future__ import annotations

from zatotx.plugins.http.schema.outgoing_rest import OUTGOING_REST, RestOutgoing
from zatotx.plugins.http.schema.outgoing_soap import OUTGOING_SOAP, SoapOutgoing
from zatotx.plugins.http.schema.rest_channel import CHANNEL_REST, RestChannel
from zatotx.plugins.http.schema.soap_channel import CHANNEL_SOAP, SoapChannel

OBJECT_TYPES = (CHANNEL_REST, CHANNEL_SOAP, OUTGOING_REST, OUTGOING_SOAP)

__all__ = [
    'CHANNEL_REST', 'CHANNEL_SOAP', 'OBJECT_TYPES', 'OUTGOING_REST', 'OUTGOING_SOAP', 'RestChannel',
    'RestOutgoing', 'SoapChannel', 'SoapOutgoing',
]  # fmt: skip
