"""The method signatures of scripted REST and SOAP connections, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import HTTP_RESPONSES, ApiSignature

_POSITIONAL = ('data', 'params', 'headers')

SIGNATURES = {
    'rest': ApiSignature(
        title='REST',
        methods=('get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'call', 'ping'),
        zato_methods=('get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'send', 'ping'),
        first_argument='method',
        positional=_POSITIONAL,
        options=('timeout', 'model', 'stream'),
        results=HTTP_RESPONSES,
    ),
    'soap': ApiSignature(
        title='SOAP',
        methods=('post', 'send', 'call', 'ping'),
        zato_methods=('post', 'send', 'ping', 'client'),
        first_argument='action',
        positional=_POSITIONAL,
        options=('soap_action', 'soap_headers', 'one_way', 'timeout'),
        results=HTTP_RESPONSES,
    ),
}
