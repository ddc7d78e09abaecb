"""IBM MQ: channels that receive the messages of queues, and outgoing connections that send messages. Messages may have
JMS headers."""

from zatotx.interfaces.connector_kind import CONNECTOR, ConnectorKind
from zatotx.rules.channel_placement import Placement

kind = ConnectorKind(
    name='ibm_mq',
    title='IBM MQ',
    runs_in=CONNECTOR,
    channel='zatotx.plugins.ibm_mq.channel:make_channel',
    outgoing='zatotx.plugins.ibm_mq.outgoing:make_outgoing',
    schema='zatotx.plugins.ibm_mq.schema:OBJECT_TYPES',
    metrics='zatotx.plugins.ibm_mq.metrics:DEFINITIONS',
    doubles='zatotx.plugins.ibm_mq.testing:SIGNATURES',
    placement={'channel_ibm_mq': Placement.EVERY_NODE},
    required_modules=('pymqi',),
    install_hint="install IBM's MQ client, then: MQ_FILE_PATH=/opt/mqm pip install 'zatotx[ibm-mq]'",
)
