"""The method signatures of scripted IBM MQ connections, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import ApiSignature

SIGNATURES = {
    'ibm_mq': ApiSignature(
        title='IBM MQ',
        methods=('send', 'ping'),
        positional=('message', 'queue', 'delivery_mode', 'expiration', 'priority', 'max_chars_printed'),
        options=('reply_to', 'correlation_id', 'properties'),
    ),
}
