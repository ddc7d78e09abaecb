"""Tests of demo.py and classic.py: the services run in memory, without a server.

    pytest examples            or            trial examples/test_demo.py
"""

from pathlib import Path

from zatotx import BadRequest
from zatotx.testing import ServiceTestCase, load

HERE = Path(__file__).parent
demo = load(HERE / 'demo.py')
classic = load(HERE / 'classic.py')  # its imports of Zato work as they do when it is deployed


class EchoTests(ServiceTestCase):
    def test_answers_what_it_was_sent(self):
        for value in ({'a': [1, None, 'ž']}, [], 42, 1.5, True, None):
            self.assertEqual(self.call(demo.Echo, value).payload, value)

    def test_text_stays_json(self):
        answer = self.call(demo.Echo, 'text', through_channel=True)
        self.assertEqual((answer.status, answer.body), (200, b'"text"'))

    def test_malformed_json_never_reaches_it(self):
        answer = self.call(demo.Echo, b'{', through_channel=True, data_format='json')
        self.assertEqual(answer.status, 400)


class HelloTests(ServiceTestCase):
    def test_greets_whom_the_path_names(self):
        answer = self.call(demo.Hello, method='GET', params={'name': 'Ada'}, query={'lang': 'fr'})
        self.assertEqual(answer.payload, {'greeting': 'Bonjour, Ada!'})

    def test_a_language_it_does_not_know(self):
        answer = self.call(demo.Hello, {'name': 'Ada', 'lang': 'xx'})
        self.assertEqual(answer.payload, {'greeting': 'Hello, Ada!'})

    def test_one_language_at_a_time(self):
        with self.assertRaises(BadRequest) as caught:
            self.call(demo.Hello, method='GET', params={'name': 'Ada'}, query={'lang': ['en', 'pl']})
        self.assertEqual(caught.exception.details, 'lang: expected one value, got 2')

    def test_needs_a_name(self):
        with self.assertRaises(BadRequest) as caught:
            self.call(demo.Hello, {})
        self.assertEqual(caught.exception.details, '$.name: missing')


class TickTests(ServiceTestCase):
    def test_logs_its_job(self):
        self.call(demo.Tick)
        self.assertEqual(self.logged(), ['Tick for no job'])


class ToFahrenheitTests(ServiceTestCase):
    def test_converts(self):
        answer = self.call(classic.ToFahrenheit, {'celsius': '30'})
        self.assertEqual(answer.payload, {'celsius': 30.0, 'fahrenheit': 86.0})
        self.assertEqual(self.logged(), ['Converting 30.0'])

    def test_its_answer_has_an_element(self):
        answer = self.call(classic.ToFahrenheit, {'celsius': 0}, through_channel=True)
        self.assertEqual(answer.json(), {'response': {'celsius': 0.0, 'fahrenheit': 32.0}})
