"""The method signatures of scripted AMQP connections, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import ApiSignature

SIGNATURES = {
    'amqp': ApiSignature(
        title='AMQP',
        methods=('send', 'send_many', 'call', 'ping'),
        positional=('msg', 'exchange', 'routing_key', 'properties', 'headers'),
        options=('mandatory', 'timeout'),
    ),
}
