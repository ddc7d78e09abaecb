"""The object types of the AMQP kind: broker definitions, channels and outgoing connections."""

from zatotx.plugins.amqp.schema.channel_amqp import CHANNEL_AMQP
from zatotx.plugins.amqp.schema.definition_amqp import DEFINITION_AMQP
from zatotx.plugins.amqp.schema.outgoing_amqp import OUTGOING_AMQP

OBJECT_TYPES = (DEFINITION_AMQP, CHANNEL_AMQP, OUTGOING_AMQP)
