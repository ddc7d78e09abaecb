"""The signature of outgoing REST connections."""

from __future__ import annotations

from zatotx.testing.api_signature import ApiSignature

REST = 'rest'
METHODS = ('get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'call', 'ping')
ZATO_METHODS = ('get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'send', 'ping')  # methods of `.conn`
POSITIONAL = ('data', 'params', 'headers')
OPTIONS = ('timeout', 'model', 'stream')
SHAPE = ApiSignature(title='REST', methods=METHODS, zato_methods=ZATO_METHODS, called='method', positional=POSITIONAL,
              options=OPTIONS)
