"""Tests of the services that exchange messages, files and rows with other systems: these are scripted.

    pytest examples            or            trial examples/test_connections.py
"""

import tempfile
from pathlib import Path

from zatotx import MessageUnroutable, NotFound, ServiceUnavailable
from zatotx.testing import ServiceTestCase, load

HERE = Path(__file__).parent
orders = load(HERE / 'orders_amqp.py')
prices = load(HERE / 'prices_zmq.py')
payments = load(HERE / 'payments_ibm_mq.py')
customers = load(HERE / 'customers_sql.py')
invoices = load(HERE / 'invoices_ftp.py')


class AmqpTests(ServiceTestCase):
    def test_place(self):
        self.outgoing.amqp['Orders'].on('send', {'sku': 'AB123', 'quantity': 2}).answers('m1')
        answer = self.call(orders.PlaceOrder, {'sku': 'AB123', 'quantity': '2'})
        self.assertEqual(answer.payload, {'message_id': 'm1'})

    def test_no_queue_yet(self):
        self.outgoing.amqp['Orders'].on('send').raises(MessageUnroutable(None, 'no queue gets the message'))
        with self.assertRaises(ServiceUnavailable):
            self.call(orders.PlaceOrder, {'sku': 'AB123'})

    def test_handle(self):
        self.call(orders.HandleOrder, {'sku': 'AB123', 'quantity': 2})
        self.assertEqual(self.logged(), ['Delivering 2 x AB123'])
        with self.assertRaises(ValueError):
            self.call(orders.HandleOrder, {'sku': 'AB123', 'quantity': 0})


class ZeroMqTests(ServiceTestCase):
    def test_published(self):
        self.call(prices.Price, b'AB123 9.90')
        self.assertEqual(self.call(prices.Ask, {'sku': 'AB123'}).payload, {'price': '9.90'})

    def test_asked(self):
        self.outgoing.zmq['Pricing'].on('send', 'CD456').answers(b'4.50')
        self.assertEqual(self.call(prices.Ask, {'sku': 'CD456'}).payload, {'price': '4.50'})


class IbmMqTests(ServiceTestCase):
    def test_pay(self):
        self.outgoing.ibm_mq['Payments'].on('send').answers('ID:1')
        answer = self.call(payments.Pay, {'account': 'PL61', 'amount': '10.50'})
        self.assertEqual(answer.payload, {'message_id': 'ID:1'})

    def test_book(self):
        self.call(payments.Book, {'account': 'PL61', 'amount': '10.50'}, headers={'currency': 'EUR'})
        self.assertEqual(self.logged(), ['Booking 10.50 EUR to PL61'])


class SqlTests(ServiceTestCase):
    def test_add(self):
        database = self.outgoing.sql['Customers']
        database.on('execute').answers(1, times=2)
        database.on('fetch_one').answers({'id': 7})
        self.assertEqual(self.call(customers.Add, {'name': 'Ada'}).payload, {'id': 7})

    def test_find(self):
        database = self.outgoing.sql['Customers']
        database.on('fetch_one').answers({'name': 'Ada', 'city': 'London'}).answers(None)
        self.assertEqual(self.call(customers.Find, {'id': 7}).payload, {'name': 'Ada', 'city': 'London'})
        with self.assertRaises(NotFound):
            self.call(customers.Find, {'id': 8})


class FtpTests(ServiceTestCase):
    def test_received(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b'<invoice/>')
            file.flush()
            self.outgoing.ftp['Archive'].on('setcontents', 'i.xml', b'<invoice/>').answers(None)
            self.call(invoices.Received, {'name': 'i.xml', 'path': file.name, 'size': 10})
        self.assertEqual(self.logged(), ['Archived i.xml with 10 bytes'])
