"""The object type of outgoing SOAP connections."""

from __future__ import annotations

from typing import Annotated

from zatotx.plugins.http.schema.http_outgoing_base import MEBIBYTE, HttpOutgoing, outgoing_field_combination_errors
from zatotx.plugins.http.schema.soap_channel import soap_action_error
from zatotx.rules.http.redirects import RedirectError, parse_redirect_target
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import FOR_OUTGOING_SOAP
from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import parser

POST = 'POST'


def is_document(wsdl: str) -> bool:
    """Return whether the setting `wsdl` contains the WSDL document itself instead of its URL."""
    return wsdl.lstrip('\ufeff \t\r\n').startswith('<')


def _wsdl_error(wsdl: str) -> str:
    try:
        if is_document(wsdl):
            parser.parse_document(wsdl.strip().encode('utf-8'), 'utf-8')
        elif wsdl:
            parse_redirect_target(wsdl)
    except RedirectError:
        return 'must be the URL of a WSDL, or the document itself: file:crm.wsdl reads it'
    except Malformed as error:
        return f'is no XML: {error}'
    return ''


class SoapOutgoing(HttpOutgoing, frozen=True, kw_only=True):
    """An outgoing SOAP connection to another system: `self.out.soap[name]`."""

    name: Annotated[
        str, field('Name of the connection, unique among outgoing SOAP ones', min_length=1, max_length=1000)
    ]
    method: Annotated[str, field('As in Zato: SOAP uses POST', choices=(POST,), aliases={'': POST})] = POST
    data_format: Annotated[str, field('As in Zato', choices=('xml',), aliases={'': 'xml'})] = 'xml'
    security: Annotated[
        str | None,
        field('Credentials, a security definition that SOAP connections can send; none = anonymous',
              ref='security', ref_purpose=FOR_OUTGOING_SOAP),
    ] = None
    soap_action: Annotated[
        str,
        field('Default SOAPAction; operations of a WSDL have their own', max_length=2000,
              check=soap_action_error),
    ] = ''
    soap_version: Annotated[str, field('SOAP version of requests', choices=('1.1', '1.2'))] = '1.1'
    wsdl: Annotated[
        str,
        field("WSDL with the peer's operations, for .client: its URL, or the document itself; empty = host and "
              'url_path with ?wsdl', max_length=5 * MEBIBYTE, check=_wsdl_error),
    ] = ''
    wsdl_service: Annotated[
        str, field('Service of the WSDL; empty = the first with a port of soap_version', max_length=1000)
    ] = ''
    wsdl_port: Annotated[
        str, field('Port of that service; empty = the first of soap_version', max_length=1000)
    ] = ''
    wsdl_refresh: (
        Annotated[
            float,
            field('Seconds until the WSDL is reloaded in the background; none = when the connection changes', ge=1,
                  le=31_536_000),
        ] | None
    ) = None


OUTGOING_SOAP = ObjectType(
    key='outgoing_soap',
    struct=SoapOutgoing,
    section='outgoing_soap',
    title='Outgoing SOAP connection',
    zato=ZatoApi(
        prefix='http-soap',
        actions=('create', 'edit', 'delete', 'get-list', 'ping'),
        fixed_fields={'connection': 'outgoing', 'transport': 'soap'},
        zato_names={'security': 'security_id'},
    ),
    validate=outgoing_field_combination_errors,
)
