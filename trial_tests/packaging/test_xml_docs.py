"""The examples of docs/xml.md work."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from lxml import etree
from twisted.trial.unittest import TestCase

from zatotx import Service
from zatotx.testing import ServiceTesting

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'xml.md'
_BLOCK = re.compile(r'```(python|xml)\n(.*?)```', re.DOTALL)


def examples() -> Iterator[tuple[str, str, str]]:
    """(source of a service, what it is sent, what it answers)."""
    blocks = _BLOCK.findall(PAGE.read_text('utf-8'))
    for first, second, third in zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True):
        assert [first[0], second[0], third[0]] == ['python', 'xml', 'xml']
        yield first[1], second[1], third[1]


def bare(document: bytes) -> bytes:
    """A document without the blanks between its elements."""
    parser = etree.XMLParser(remove_blank_text=True)
    return etree.tostring(etree.fromstring(document, parser), method='c14n')


class XmlPageTests(ServiceTesting, TestCase):
    def service(self, source: str) -> type[Service]:
        """The service of an example."""
        module = ModuleType(f'xml_page_{len(sys.modules)}')
        sys.modules[module.__name__] = module  # models are resolved there
        self.addCleanup(sys.modules.pop, module.__name__)
        exec(compile(source, str(PAGE), 'exec'), vars(module))
        (found,) = (one for one in vars(module).values()
                    if isinstance(one, type) and issubclass(one, Service) and one is not Service)  # fmt: skip
        return found

    def test_examples(self) -> None:
        """Each service answers what stands there."""
        asked = 0
        for source, sent, answered in examples():
            answer = self.call(self.service(source), sent, through_channel=True, data_format='xml')
            self.assertEqual((answer.status, answer.content_type), (200, 'application/xml'), answer.text)
            self.assertEqual(bare(answer.body), bare(answered.replace('…', answer.cid).encode()))
            asked += 1
        self.assertEqual(asked, 3)

    def test_mistakes(self) -> None:
        """Are told as the page says."""
        source, sent, _ = next(examples())
        answer = self.call(self.service(source), sent.replace('<qty>1<', '<qty>one<'), through_channel=True,
                           data_format='xml')  # fmt: skip
        self.assertEqual((answer.status, answer.details), (400, '$.lines[1].qty: expected int, got str'))
        self.assertEqual(answer.xml().cid.text, answer.cid)
        self.assertIn(answer.details, PAGE.read_text('utf-8'))
