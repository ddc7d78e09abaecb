"""Orders over RabbitMQ: a REST call publishes an order, and a channel handles the orders of a queue.

Configuration and commands: orders_amqp.yaml.
"""

from zatotx import MessageUnroutable, Service, ServiceUnavailable


class PlaceOrder(Service):
    """Publishes an order, and responds when the broker has confirmed it."""

    name = 'orders-amqp.place'
    input = 'sku', '-quantity'
    output = 'message_id'

    async def handle(self):
        order = {'sku': self.request.input.sku, 'quantity': int(self.request.input.quantity or 1)}
        try:
            message_id = await self.out.amqp['Orders'].send(order)
        except MessageUnroutable as error:  # the channel, which declares the queue, has not run yet
            raise ServiceUnavailable(self.cid, error.msg) from error
        self.response.payload = {'message_id': message_id}


class HandleOrder(Service):
    """Gets each order in a connector. The message leaves the queue when this has succeeded."""

    name = 'orders-amqp.handle'

    async def handle(self):
        order = self.request.payload
        if order['quantity'] < 1:
            raise ValueError('There is nothing to deliver')  # retried, then a dead letter
        self.logger.info('Delivering %s x %s', order['quantity'], order['sku'])
