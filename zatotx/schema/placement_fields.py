"""Schema fields that select the nodes on which a channel that fetches messages runs."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.delivery_fields import MessageChannelBase
from zatotx.schema.meta import field

# Values of zatotx.rules.channel_placement.Placement, which this layer does not import.
COMPETING, SINGLE = 'every_node', 'one_node_of_cluster'


class PlacedChannelBase(MessageChannelBase, frozen=True, kw_only=True):
    """Base class of the object types of channels that fetch messages. It defines the field `placement` and the delivery
    fields. A kind whose peers send every message to every node may override the default of `placement`."""

    placement: Annotated[
        str, field('every_node: the nodes compete for the messages; one_node_of_cluster: one node fetches them, and '
                   'another one takes over when it dies', choices=(COMPETING, SINGLE))
    ] = COMPETING  # fmt: skip
    nodes: Annotated[
        list[str], field('Names of the nodes that may fetch messages; none = all connectors, and the servers that run '
                         'the kind', max_length=100)
    ] = []  # fmt: skip
