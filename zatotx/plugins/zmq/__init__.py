"""ZeroMQ: channels that receive messages, and outgoing connections that send them."""

from zatotx.interfaces.connector_kind import CONNECTOR, ConnectorKind

kind = ConnectorKind(
    name='zmq',
    title='ZeroMQ',
    runs_in=CONNECTOR,
    channel='zatotx.plugins.zmq.channels:make_channel',
    outgoing='zatotx.plugins.zmq.outgoing:make_outgoing',
    schema='zatotx.plugins.zmq.schema:OBJECT_TYPES',
    metrics='zatotx.plugins.zmq.metrics:DEFINITIONS',
    doubles='zatotx.plugins.zmq.testing:SIGNATURES',
    commands={'crypto zmq-key': 'zatotx.plugins.zmq.cli_commands:zmq_key'},
)
