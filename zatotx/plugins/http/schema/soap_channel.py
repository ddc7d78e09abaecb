"""The object type of SOAP channels."""

from __future__ import annotations

from typing import Annotated

from zatotx.model.soap_message import is_namespace
from zatotx.plugins.http.schema.http_channel_base import (
    HttpChannel,
    channel_field_combination_errors,
    normalize_url_pattern,
)
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.wire.soap.soap_action import unquote_action


def soap_action_error(action: str) -> str:
    """Return an error message if a SOAPAction is invalid, otherwise ''."""
    if any(ord(c) < 32 or ord(c) == 127 for c in action):
        return 'must not have control characters'
    return 'must not have a quotation mark: SOAPAction has them around it' if '"' in unquote_action(action) else ''


def _namespace_error(namespace: str) -> str:
    return '' if not namespace or is_namespace(namespace) else 'is no URI, which a namespace is'


class SoapChannel(HttpChannel, frozen=True, kw_only=True):
    """A SOAP channel: a URL path and a SOAPAction that invoke a service."""

    name: Annotated[str, field('Name of the channel, unique among SOAP channels', min_length=1, max_length=1000)]
    soap_action: Annotated[
        str,
        field('SOAPAction of its requests; empty = requests without one', max_length=2000, check=soap_action_error),
    ] = ''
    soap_version: Annotated[
        str, field('Version listed first in its WSDL; responses use that of the request', choices=('1.1', '1.2'))
    ] = '1.1'
    style: Annotated[
        str, field('Style of its messages in the WSDL',
                   choices=('document', 'rpc')),
    ] = 'document'
    operation: Annotated[
        str,
        field('Name of the operation; empty = the last part of soap_action, or of the service',
              pattern=r'^([A-Za-z_][A-Za-z0-9_.-]*)?$', max_length=200),
    ] = ''
    namespace: Annotated[
        str,
        field('Namespace of its messages, unless the service declares one; empty = urn:<service>', max_length=2000,
              check=_namespace_error),
    ] = ''
    one_way: Annotated[bool, field('Whether callers get an empty 202 after the service has finished')] = False
    fault_status: (
        Annotated[int, field("500 = status 500 for every fault, as SOAP 1.1 requires; none = 400 for faults caused by "
                             'the client', ge=500, le=500)] | None
    ) = None
    data_format: Annotated[str, field('As in Zato', choices=('xml',), aliases={'': 'xml'})] = 'xml'


def _unique(value: SoapChannel) -> str:
    """Return the key of a channel: path and SOAPAction."""
    return f'/{normalize_url_pattern(value.url_path)} {unquote_action(value.soap_action)}'


CHANNEL_SOAP = ObjectType(
    key='channel_soap',
    struct=SoapChannel,
    section='channel_soap',
    title='SOAP channel',
    zato=ZatoApi(
        prefix='http-soap',
        fixed_fields={'connection': 'channel', 'transport': 'soap'},
        zato_names={'security': 'security_id'},
        extra_response_fields=('host', 'method'),
    ),
    validate=channel_field_combination_errors,
    unique_text=_unique,
    unique_label='url_path and soap_action',
)
