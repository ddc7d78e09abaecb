"""What scripted IBM MQ connections have, for the users' test kit."""

from __future__ import annotations

from zatotx.testing.api_signatures import ApiSignature

_OPTIONS = ('delivery_mode', 'priority', 'expiration', 'reply_to', 'correlation_id', 'properties', 'max_chars_printed')
_SIGNATURE = ApiSignature(title='IBM MQ', methods=('send', 'ping'), positional=('message', 'queue'), options=_OPTIONS)
SIGNATURES = {'ibm_mq': _SIGNATURE, 'jms_wmq': _SIGNATURE}
