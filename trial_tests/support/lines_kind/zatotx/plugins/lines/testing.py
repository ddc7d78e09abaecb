"""What scripted connections of the lines kind have, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.connection_api_signatures import ApiSignature

SIGNATURES = {
    'lines': ApiSignature(title='lines', methods=('send', 'ping'), positional=('text',)),
}
