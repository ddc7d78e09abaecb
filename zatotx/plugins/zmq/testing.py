"""The method signatures of scripted ZeroMQ connections, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import ApiSignature

SIGNATURES = {
    'zmq': ApiSignature(title='ZeroMQ', methods=('send', 'call', 'ping'), positional=('msg',), options=('timeout',)),
}
