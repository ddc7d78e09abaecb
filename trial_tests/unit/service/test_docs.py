"""The examples in docs/services.md work."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.invoking import Calls, outcome_of
from zatotx import BadRequest, NotFound, Service
from zatotx.model.errors import BadInput
from zatotx.service.service_entry import ServiceEntry

PAGE = Path(__file__).resolve().parents[3] / 'docs' / 'services.md'


class ServicesPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.services: dict[str, ServiceEntry] = {}
        for number, block in enumerate(PAGE.read_text('utf-8').split('```python\n')[1:]):
            module = ModuleType(f'services_page_{number}')
            sys.modules[module.__name__] = module  # models are resolved there
            self.addCleanup(sys.modules.pop, module.__name__)
            exec(compile(block.split('```')[0], str(PAGE), 'exec'), vars(module))
            for value in list(vars(module).values()):
                if isinstance(value, type) and issubclass(value, Service) and value is not Service:
                    self.services[value.__name__] = ServiceEntry.for_class(value)

    def ask(self, name: str, payload: Any = None) -> Any:
        first = self.services[name]
        calls = Calls(first, *(entry for entry in self.services.values() if entry is not first))
        outcome = outcome_of(calls.start(calls.http(), payload))
        value = msgspec.json.decode(msgspec.json.encode(outcome.value))
        return {outcome.element: value} if outcome.element else value

    def test_first_service(self) -> None:
        """The first service invokes the other one."""
        self.assertEqual(self.ask('GetBalance', {'account_id': 1}), {'balance': 100, 'currency': 'EUR'})

    def test_three_ways_of_input(self) -> None:
        """All three declarations give the same input and the same mistakes."""
        good = {'name': 'a', 'items': [{'sku': 'x', 'qty': 1}, {'sku': 'y'}]}
        self.assertEqual(self.ask('WithModel', good), {'lines': 2})
        self.assertEqual(self.ask('ShortForm', good), {'lines': 2})
        self.assertEqual(self.ask('Classic', good), {'response': {'lines': 2}})
        bad = {'items': [*good['items'], {'sku': 'z'}, {'sku': 'w', 'qty': 'x'}]}
        for name in ('WithModel', 'ShortForm', 'Classic'):
            error = self.assertRaises(BadInput, self.ask, name, bad)
            self.assertEqual(error.details, '$.name: missing; $.items[3].qty: expected int, got str')
            self.assertIn(error.details, PAGE.read_text('utf-8'))

    def test_forms_of_output(self) -> None:
        """Each form responds as the page says."""
        self.assertEqual(self.ask('ByAttribute'), {'name': 'Ann', 'city': ''})
        self.assertEqual(self.ask('Several'), [{'name': 'Ann', 'city': ''}, {'name': 'Bob', 'city': 'Opole'}])
        self.assertEqual(self.ask('AsInZato'), {'customers': [{'name': 'Ann'}]})
        calls = Calls(self.services['Report'])
        outcome = outcome_of(calls.start(calls.http()))
        self.assertEqual((outcome.status, outcome.content_type), (201, 'text/csv'))
        self.assertEqual(outcome.headers, {'X-Report': 'daily'})

    def test_faults(self) -> None:
        """The errors are raised as shown."""
        self.assertRaises(BadRequest, self.ask, 'Close', {'account': '0'})
        self.assertRaises(NotFound, self.ask, 'Close', {'account': '1'})
