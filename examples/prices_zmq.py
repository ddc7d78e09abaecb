"""Prices over ZeroMQ: a channel subscribes to a publisher, and a REST call asks another program for a price.

Configuration and commands: prices_zmq.yaml.
"""

from zatotx import Service


class Price(Service):
    """Gets each published price, without the prefix that the channel subscribes to."""

    name = 'prices-zmq.received'

    async def handle(self):
        sku, price = self.request.raw_request.decode().split()
        await self.cache.set(f'prices-zmq.{sku}', price)
        self.logger.info('%s costs %s', sku, price)


class Ask(Service):
    """Asks the pricing program, unless the price was published before."""

    name = 'prices-zmq.ask'
    input = 'sku'
    output = 'price'

    async def handle(self):
        sku = self.request.input.sku
        price = await self.cache.get(f'prices-zmq.{sku}')
        if price is None:
            price = (await self.out.zmq['Pricing'].send(sku)).decode()
        self.response.payload = {'price': price}
