"""What a service answers, as one XML element: for channels of XML, and of SOAP, which puts it into an Envelope."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.service.io.description import IO, ElementsOut, TypedOut
from zatotx.service.io.xml_plan import of_output
from zatotx.service.io.xml_shapes import ANYTHING, Items, Shape
from zatotx.wire.xml_write import ITEM, Markup, NoForm, escaped, is_name, markup

ROOT = 'response'
ITEM_LIST = 'item_list'
ZATO = 'https://zato.io/ns/20130518'  # what zato.* services stand in (feature map 3.5)
_OUT = 'xml_out'


def answer(value: Any, io: IO, *, zato_cid: str = '') -> Markup:
    """The element of an answer whose declared output was made (`io.output.write`), or of any value where none is
    declared. `zato_cid`: the cid, where it is a zato.* service that answers.

    Classic SimpleIO answers in its `response_elem`, which holds an `<item>`, or an `<item_list>` of them; all others in
    a `<response>` with the fields themselves. Raises NoForm for what XML cannot hold.
    """
    name = io.element or ROOT
    if not is_name(name):
        raise NoForm(f'The response_elem {name!r} is no name for an XML element')
    pieces: list[str] = []
    output = io.output
    if zato_cid or (isinstance(output, ElementsOut) and output.element):
        pieces += f'<{name}>', _zato_env(zato_cid) if zato_cid else ''
        _write_items(pieces, io, value)
        pieces.append(f'</{name}>')
    else:
        _shape(io).write(pieces, name, msgspec.to_builtins(value) if isinstance(output, TypedOut) else value)
    return markup(name, pieces, io.namespace or (ZATO if zato_cid else ''))


def _write_items(pieces: list[str], io: IO, value: Any) -> None:
    if isinstance(io.output, ElementsOut) and io.output.repeated:
        Items(_shape(io)).write(pieces, ITEM_LIST, value)
    else:
        _shape(io).write(pieces, ITEM, value)


def _zato_env(cid: str) -> str:
    return f'<zato_env><cid>{escaped(cid)}</cid><result>ZATO_OK</result></zato_env>'


def _shape(io: IO) -> Shape:
    """Of one record, or of the model; worked out once."""
    shape: Shape | None = io.memo.get(_OUT)
    if shape is None:
        shape = io.memo[_OUT] = ANYTHING if io.output is None else of_output(io.output)
    return shape
