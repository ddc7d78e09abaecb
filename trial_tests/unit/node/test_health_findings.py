"""What a node finds wrong with itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from attrs import NOTHING, fields
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.kind_registry import find_kinds
from zatotx.node import health_findings
from zatotx.node.node import NodeState
from zatotx.node.node_api import NodeApi
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry


def double(**fields: Any) -> Any:
    """Return a component that has only these attributes."""
    return SimpleNamespace(**fields)


class FinderTests(SynchronousTestCase):
    def test_all_is_well(self) -> None:
        """Parts that are well give no sentence."""
        self.assertEqual(
            list(health_findings.find_odb_outage(double(unavailable_reason='', snapshot=Snapshot()))), []
        )
        self.assertEqual(list(health_findings.find_redis_outage(double(problem=''))), [])
        self.assertEqual(list(health_findings.find_rejected_code(double(verdicts={1: '', 2: ''}))), [])

    def test_parts_that_are_not(self) -> None:
        """Each names the part, its reason and what to do."""
        (odb,) = health_findings.find_odb_outage(
            double(unavailable_reason='no answer within 5 s', snapshot=Snapshot())
        )
        (redis,) = health_findings.find_redis_outage(double(problem='connection refused'))
        (code,) = health_findings.find_rejected_code(double(verdicts={1: '', 2: 'crm.py, line 3: no module named x'}))
        (names,) = health_findings.find_xml_name_leak(False)
        self.assertEqual(list(health_findings.find_xml_name_leak(True)), [])
        for sentence, part, why, fix in (
            (names, 'XML', 'lxml', 'install a version'),
            (odb, 'ODB', 'no answer within 5 s', 'see that the database runs'),
            (redis, 'Redis', 'connection refused', 'see that it runs'),
            (code, 'code', 'crm.py, line 3', 'roll back'),
        ):
            for words in (part, why, fix):
                self.assertIn(words, sentence)


class NodeViewTests(SynchronousTestCase):
    def test_in_the_order_of_its_finders(self) -> None:
        """A node's findings are those of all its finders, asked anew each time."""
        now = ['a']
        unused = {field.name for field in fields(NodeApi) if field.init and field.default is NOTHING}
        parts: dict[str, Any] = dict.fromkeys(unused - {'name', 'cluster', 'types', 'state', 'kinds'})
        view = NodeApi(name='one', cluster='c', types=ObjectTypeRegistry([]), state=NodeState(), kinds=find_kinds(),
                        finding_sources=(lambda: now, lambda: iter(['z'])), **parts)  # fmt: skip
        self.assertEqual(view.findings(), ['a', 'z'])
        now.append('b')
        self.assertEqual(view.findings(), ['a', 'b', 'z'])
