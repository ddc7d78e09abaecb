"""Prepares the messages of connections with `delivery: guaranteed` for storage in the work stream."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import evolve

from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.plugins.amqp.body_codec import encode_body
from zatotx.plugins.amqp.message_properties import merge_fields

_ARGUMENTS = ('msg', 'exchange', 'routing_key', 'properties', 'headers')


def prepare_stored(value: Any, call: StoredCall, message_id: str) -> StoredCall:
    """Return the form in which a call is stored. The stored body does not depend on classes of services, and a single
    message gets a message ID, by which consumers recognize duplicates. Raises TypeError and ValueError."""
    names = _ARGUMENTS if call.method == 'send' else ('messages', *_ARGUMENTS[1:])
    if len(call.args) > len(names):
        raise TypeError(f'{call.method}() takes at most {len(names)} arguments without a name')
    arguments = dict(zip(names, call.args, strict=False))
    if twice := arguments.keys() & call.kwargs.keys():
        raise TypeError(f'{call.method}() got {", ".join(sorted(twice))} twice')
    arguments.update(call.kwargs)
    if names[0] not in arguments:
        raise TypeError(f'{call.method}() needs {names[0]}')
    properties = dict(arguments.get('properties') or {})
    merge_fields({}, properties, arguments.get('headers'))  # raises
    if call.method == 'send':
        body, content_type = encode_body(arguments['msg'], '')
        arguments['msg'] = body
        if not value.content_type:
            properties.setdefault('content_type', content_type)
        properties.setdefault('message_id', message_id)
        arguments['properties'] = properties
    else:
        arguments['messages'] = msgspec.to_builtins(list(arguments['messages']), builtin_types=(bytes,))
    return evolve(call, args=[], kwargs=arguments)
