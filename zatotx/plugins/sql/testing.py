"""What scripted SQL connections have, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.scripted_connections import ApiSignature

SIGNATURES = {
    'sql': ApiSignature(
        title='SQL',
        methods=('call_procedure', 'execute', 'execute_many', 'fetch_all', 'fetch_one', 'fetch_value', 'ping',
                 'session', 'stream', 'transaction'),
        positional=('statement', 'params'),
        options=('timeout', 'isolation_level', 'rows', 'name', 'batch'),
        contexts=('transaction',),
        iterators=('stream',),
    ),
}
