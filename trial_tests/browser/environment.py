"""A cluster for the browser: two servers, a connector and a load balancer, PostgreSQL and RabbitMQ, and one object of
most types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trial_tests.support import postgresql, rabbitmq
from trial_tests.support.broker import Broker, create
from trial_tests.support.rabbitmq import definition
from trial_tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PARTS = ('web-admin', 'load-balancer', 'connector1')
MARKUP = '"><img src=x onerror=document.title="stolen">'
SERVICES = '''
from zatotx import Service


class Hello(Service):
    """ Greets whoever asks. """
    name = 'browser.hello'
    input = '-name'

    async def handle(self):
        self.response.payload = {'hello': self.request.input.name or 'nobody'}


class Fails(Service):
    name = 'browser.fails'

    async def handle(self):
        raise ValueError('<b>never</b>')
'''


def make_environment() -> Broker:
    """A running environment with the demo and objects of many types."""
    database, messages = postgresql.shared(), rabbitmq.shared()
    more = ('--cluster-name', 'demo', '--odb-url', database.fresh())
    broker = create(servers=2, parts=PARTS, more=more)
    broker.start()
    examples = ROOT / 'examples'
    broker.deploy(examples / 'demo.py', examples / 'classic.py', broker.write('browser_services.py', SERVICES))
    broker.must('enmasse', str(broker.path), '--import', '--input', str(examples / 'demo.yaml'),
                env={'DEMO_PASSWORD': 'only for a picture'})  # fmt: skip
    broker.configure(json.dumps(make_document(definition(messages))))
    for _ in range(2):
        broker.invoke('zato.service.invoke', b'{"name": "browser.fails", "payload": "", "async": true}')
    for server in (1, 2):
        for _ in range(5):
            broker.ask('GET', '/demo/hello/Ada', server=server)
    return broker


def make_document(amqp: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Objects of many types. `amqp`: the fields of a definition of RabbitMQ."""
    return {
        'security': [
            {'name': 'CRM user', 'type': 'basic_auth', 'username': 'crm', 'password': 'p', 'realm': 'CRM'},
            {'name': 'Partner key', 'type': 'apikey', 'header': 'X-API-Key', 'password': 'p'},
        ],
        'channel_rest': [
            {'name': 'browser.hello', 'url_path': '/browser/hello', 'service': 'browser.hello'},
            {'name': 'customers', 'url_path': '/api/customers/{name}', 'service': 'demo.hello', 'method': 'GET',
             'security': 'CRM user', 'data_format': 'json'},
            {'name': 'orders', 'url_path': '/api/orders', 'service': 'demo.echo', 'method': 'POST',
             'security': 'Partner key', 'data_format': 'json'},
            {'name': 'partner status', 'url_path': '/partner/status', 'service': 'browser.hello', 'is_active': False},
        ],
        'channel_soap': [{'name': 'browser.soap', 'url_path': '/browser/soap', 'service': 'browser.hello'}],
        'outgoing_rest': [{'name': 'CRM', 'host': 'http://127.0.0.1:1', 'url_path': '/customers'},
                          {'name': 'Archive', 'host': 'http://127.0.0.1:1', 'url_path': '/documents/{id}'}],
        'sql': [{'name': 'CRM-DB', 'url': 'sqlite:////tmp/zatotx-browser-crm.db'}],
        'definition_amqp': [{'name': 'rabbit', **amqp}],
        'outgoing_amqp': [{'name': 'Audit', 'definition': 'rabbit', 'exchange': 'amq.topic', 'routing_key': 'all'}],
        'scheduler': [{'name': 'every-hour', 'service': 'browser.hello', 'job_type': 'interval_based', 'hours': 1,
                       'start_date': '2026-01-01T00:00:00Z'}],
        'rate_limit': [{'name': 'ten', 'limit': '10/s'}],
        'data_dictionary': [{'system1': 'CRM', 'key1': 'country', 'value1': 'PL', 'system2': 'ERP', 'key2': 'ctry',
                             'value2': '616'}],
    }  # fmt: skip


def add_markup(broker: Broker) -> None:
    """Add an object whose name and values are markup, which no page may interpret."""
    markup = {'name': f'Markup {MARKUP}', 'type': 'basic_auth', 'username': 'markup', 'password': 'p', 'realm': MARKUP}
    broker.configure(json.dumps({'security': [markup]}))


def add_channels(broker: Broker, count: int) -> None:
    """Add that many REST channels."""
    channels = [{'name': f'bulk.{number:05}', 'url_path': f'/bulk/{number}', 'service': 'browser.hello'}
                for number in range(count)]  # fmt: skip
    broker.configure(json.dumps({'channel_rest': channels}))
    until(lambda: b'bulk.00000' in broker.invoke('zato.http-soap.get-list', b'{"connection": "channel",'
          b' "transport": "plain_http", "query": "bulk.00000"}').body, 'the channels')  # fmt: skip
