"""AMQP 0-9-1: channels that consume the queues of RabbitMQ, and outgoing connections that publish messages to
RabbitMQ."""

from zatotx.interfaces.connector_kind import CONNECTOR, ConnectorKind
from zatotx.rules.channel_placement import Placement

kind = ConnectorKind(
    name='amqp',
    title='AMQP',
    runs_in=CONNECTOR,
    channel='zatotx.plugins.amqp.channel:make_channel',
    outgoing='zatotx.plugins.amqp.outgoing:make_outgoing',
    schema='zatotx.plugins.amqp.schema:OBJECT_TYPES',
    metrics='zatotx.plugins.amqp.metrics:DEFINITIONS',
    doubles='zatotx.plugins.amqp.testing:SIGNATURES',
    placement={'channel_amqp': Placement.EVERY_NODE},
    required_modules=('pika',),
    install_hint='pip install "pika>=1.4.4,<1.5"',
)
