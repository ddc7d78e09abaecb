"""The services of the page on asynchronous invocation do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service
from zatotx.testing.service_kit import ServiceKit

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'asynchronous.md'


def services() -> dict[str, type[Service]]:
    """The services in the page's Python blocks, by name."""
    found: dict[str, type[Service]] = {}
    for block in re.findall(r'^```python\n(.*?)^```$', PAGE.read_text('utf-8'), re.MULTILINE | re.DOTALL):
        space: dict[str, Any] = {}
        exec(block, space)
        found.update((cls.get_name(), cls) for cls in space.values()
                     if isinstance(cls, type) and issubclass(cls, Service) and cls is not Service)  # fmt: skip
    return found


class AsynchronousPageTests(SynchronousTestCase):
    def test_invoke_async(self) -> None:
        """The first example writes the invocation and responds with its cid."""
        with ServiceKit() as kit:
            answer = kit.call(services()['shop.order'], {'id': 7})
            self.assertEqual(kit.invoked_async('shop.send-invoice'), [{'order': 7}])
            self.assertEqual(answer.payload, {'cid': answer.cid})

    def test_parallel(self) -> None:
        """The second one responds with the results of both services, and with the error of one that fails."""
        with ServiceKit() as kit:
            kit.invokes('crm.price').answers({'price': 5})
            kit.invokes('stock.count').raises(RuntimeError('no stock'))
            answer = kit.call(services()['shop.quote'])
            self.assertEqual(answer.payload, {'crm.price': {'price': 5}, 'stock.count': 'no stock'})
