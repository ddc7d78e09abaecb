"""Messages are built alike, whether their call gives properties or not."""

from __future__ import annotations

from typing import Any

from pika import BasicProperties
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.ping_call import PingCall
from zatotx.plugins.amqp.message_builder import MessageBuilder, SendRequest
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing

CID = '0123456789abcdef01234567'


class MessageBuilderTests(SynchronousTestCase):
    def properties(self, builder: MessageBuilder, message: Any, cid: str = CID, **fields: Any) -> Any:
        """The properties of a message, decoded by pika."""
        built = builder.build(SendRequest(message=message, **fields), PingCall(cid))
        decoded = BasicProperties()
        decoded.decode(built.properties)
        self.assertEqual(decoded.message_id, built.message_id)
        return decoded

    def test_templates(self) -> None:
        """The second message, which is made of a template, differs from the first one only in what is its own; so does
        one with a cid of the caller's, and one whose properties are given."""
        value = AmqpOutgoing(name='out', definition='rabbit', user_id='zatotx', app_id='crm', priority=3,
                             expiration=500)  # fmt: skip
        builder = MessageBuilder(value, 'zatotx', 'server1@host')
        messages: tuple[Any, ...] = ({'a': 1}, 'text', b'bytes')
        for message in messages:
            found = [self.properties(builder, message), self.properties(builder, message, 'f' * 24),
                     self.properties(builder, message, 'a-cid-of-the-caller'),
                     self.properties(builder, message, properties={'type': 't'})]  # fmt: skip
            self.assertEqual([each.headers['X-Zato-CID'] for each in found],
                             [CID, 'f' * 24, 'a-cid-of-the-caller', CID])  # fmt: skip
            self.assertEqual(len({each.message_id for each in found}), 4)
            for each in found:
                own = (each.content_type, each.delivery_mode, each.priority, each.expiration, each.user_id, each.app_id,
                       each.headers['X-Zato-Component'], len(each.headers['X-Zato-Msg-TS']))  # fmt: skip
                self.assertEqual(own, (found[0].content_type, 2, 3, '500', 'zatotx', 'crm', 'server1@host', 32))
        self.assertEqual(len({self.properties(builder, message).content_type for message in messages}), 3)

    def test_foreign_users(self) -> None:
        """What the broker may refuse is sent apart."""
        for user_id, is_isolated in (('', False), ('zatotx', False), ('somebody', True)):
            value = AmqpOutgoing(name='out', definition='rabbit', user_id=user_id)
            builder = MessageBuilder(value, 'zatotx', 'server1@host')
            self.assertIs(builder.build(SendRequest(message='x'), PingCall(CID)).is_isolated, is_isolated)
