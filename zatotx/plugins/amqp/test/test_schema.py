"""The object types of AMQP: Zato's fields and defaults, and mistakes that concern several fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.amqp.schema import OBJECT_TYPES
from zatotx.plugins.amqp.schema.channel_amqp import AmqpQueue, arguments_of
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.schema.meta import ObjectType
from zatotx.schema.validation import validate

TYPES: Mapping[str, ObjectType] = {object_type.key: object_type for object_type in OBJECT_TYPES}
CHANNEL = {'name': 'in', 'definition': 'rabbit', 'queue': 'q', 'service': 's'}


def valid(key: str, fields: Mapping[str, Any]) -> Any:
    """The object of these fields, which must be valid."""
    value, errors = validate(TYPES[key], fields)
    assert not errors, errors
    return value


class SchemaTests(SynchronousTestCase):
    def wrong(self, key: str, fields: Mapping[str, Any]) -> list[str]:
        """The paths of what is wrong."""
        return sorted(path for path, _ in validate(TYPES[key], fields)[1])

    def test_defaults_of_zato(self) -> None:
        """The fields of Zato have its defaults; 0 means the default of zatotx for heartbeat and prefetch."""
        definition = msgspec.structs.asdict(valid('definition_amqp', {'name': 'r', 'host': 'h', 'heartbeat': 0}))
        self.assertEqual({name: definition[name] for name in ('port', 'vhost', 'frame_max', 'heartbeat')},
                         {'port': 5672, 'vhost': '/', 'frame_max': 131_072, 'heartbeat': 0})  # fmt: skip
        self.assertEqual(AmqpDefinition(name='r', host='h').idle_limit, 30)
        self.assertEqual(valid('channel_amqp', {**CHANNEL, 'prefetch': 0}).prefetch_count, 50)
        outgoing = valid('outgoing_amqp', {'name': 'out', 'definition': 'r', 'delivery_mode': 'persistent'})
        self.assertEqual((outgoing.delivery_mode, outgoing.priority, outgoing.expiration), (2, 5, None))

    def test_names_of_zato_3(self) -> None:
        """Channels take the names of Zato 3."""
        channel = valid('channel_amqp', {**CHANNEL, 'prefetch_count': 7, 'pool_size': 3, 'ack_mode': 'reject'})
        self.assertEqual((channel.prefetch, channel.consumers, channel.on_error), (7, 3, 'reject'))
        self.assertEqual(valid('channel_amqp', {**CHANNEL, 'ack_mode': 'ack'}).on_error, 'requeue')

    def test_mistakes(self) -> None:
        """Fields that do not go together are all reported, with their paths."""
        found = self.wrong('channel_amqp', {
            **CHANNEL, 'exclusive': True, 'consumers': 2, 'on_error': 'dead_letter', 'dead_letter': False,
            'max_size': 1_000_000, 'max_in_flight_bytes': 100_000,
            'declare': {'durable': False, 'auto_delete': True, 'arguments': {'x-queue-type': 'stream'}},
        })  # fmt: skip
        self.assertEqual(found, ['consumers', 'dead_letter', 'declare.arguments', 'declare.auto_delete',
                                 'declare.durable', 'max_in_flight_bytes'])  # fmt: skip
        self.assertEqual(self.wrong('channel_amqp', {**CHANNEL, 'key_group': 'body', 'prefetch': -1, 'queue': ''}),
                         ['key_group', 'prefetch', 'queue'])  # fmt: skip
        self.assertEqual(self.wrong('outgoing_amqp', {'name': 'o', 'definition': 'r', 'delivery_mode': 3,
                                                      'priority': 10, 'expiration': -1}),
                         ['delivery_mode', 'expiration', 'priority'])  # fmt: skip
        self.assertEqual(self.wrong('definition_amqp', {'name': 'r', 'host': 'a b', 'port': 0, 'tls_key': 'no key'}),
                         ['host', 'port'])  # fmt: skip

    def test_arguments_of_queues(self) -> None:
        """Quorum queues have no limit of deliveries, unless the configuration says otherwise."""
        self.assertEqual(arguments_of(AmqpQueue()), {'x-queue-type': 'quorum', 'x-delivery-limit': -1})
        self.assertEqual(arguments_of(AmqpQueue(arguments={'x-delivery-limit': 5}))['x-delivery-limit'], 5)
        self.assertEqual(arguments_of(AmqpQueue(type='classic')), {'x-queue-type': 'classic'})
