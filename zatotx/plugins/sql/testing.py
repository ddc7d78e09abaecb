"""The method signatures of scripted SQL connections, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import ROWS, ApiSignature

SIGNATURES = {
    'sql': ApiSignature(
        title='SQL',
        methods=('call_procedure', 'execute', 'execute_many', 'fetch_all', 'fetch_one', 'fetch_value', 'ping',
                 'session', 'stream', 'transaction'),
        positional=('statement', 'params'),
        options=('timeout', 'isolation_level', 'rows', 'name', 'batch'),
        results=ROWS,
        contexts=('transaction',),
        iterators=('stream',),
    ),
}
