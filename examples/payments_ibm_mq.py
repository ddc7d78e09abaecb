"""Payments over IBM MQ: a REST call puts a payment on a queue, and a channel books the payments of a queue.

Configuration and commands: payments_ibm_mq.yaml.
"""

from zatotx import Service


class Pay(Service):
    """Puts a payment on the queue of its bank, as a JMS message with a property."""

    name = 'payments-mq.pay'
    input = 'account', 'amount'
    output = 'message_id'

    async def handle(self):
        payment = {'account': self.request.input.account, 'amount': self.request.input.amount}
        message_id = await self.out.ibm_mq['Payments'].send(payment, properties={'currency': 'EUR'})
        self.response.payload = {'message_id': message_id}


class Book(Service):
    """Gets each payment in a connector. The unit of work is committed when this has succeeded, and backed out when it
    fails; after BOTHRESH back-outs the message is on the back-out queue of its queue."""

    name = 'payments-mq.book'

    async def handle(self):
        payment = self.request.payload
        self.logger.info('Booking %s %s to %s', payment['amount'], self.request.headers['currency'], payment['account'])
