"""XML representations (shapes) of declared values. Each class reads and writes one representation.

Values read are texts, None for xsi:nil; the declaration converts them. An element is read as declared: `<tags>a</tags>`
is a text, or a list of one item.

    scalar      <qty>5</qty>
    object      <customer><name>Ann</name></customer>
    list        <tags><item>a</item><item>b</item></tags>, also read: <tags>a</tags><tags>b</tags>
    pairs       <codes><item><key>a</key><value>1</value></item></codes>, also read: <codes><a>1</a></codes>

Elements are plain ones (wire.xml.parser.PlainLxmlElements, the fast way) or those of lxml.objectify, whose `len` and
iteration are about siblings and take time proportional to their number: only `getchildren` returns the children.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from zatotx.wire.xml.parser import Element, is_nil, local_name, text_of
from zatotx.wire.xml.writer import ITEM, KEY, VALUE, NotRepresentable, is_xml_name, write_value

ITEMS = frozenset((ITEM, 'item_dict', 'dict'))  # Zato's names of list items
_PAIR = frozenset((KEY, VALUE))
_MAX_TAGS = 8  # cached tags per field; usually a field has one tag, in one namespace or in none

ChildrenByName = dict[str, 'Element | list[Element]']  # children by name: one element, or a list of all with that name


class XmlShape:
    """Base class of all shapes, and the XML form of a value without a declared type. Such a value is text, an object
    with any children, or a list if a name is repeated."""

    fields: Collection[str] = ()  # the names of its children, if known
    # (pieces, name, value): write a value as an element of that name. Raises NotRepresentable.
    write: Callable[[list[str], str, Any], None] = staticmethod(write_value)

    def read(self, element: Element) -> Any:
        """Return the value of an element."""
        if children := element.getchildren():
            return {name: self.read_repeated(child) if type(child) is list else self.read(child)
                    for name, child in group_by_name(children).items()}  # fmt: skip
        return text_of(element) or empty_element_value(element)

    def read_repeated(self, elements: Sequence[Element]) -> Any:
        """Return the value of elements with the same name."""
        return [self.read(element) for element in elements]


class TextShape(XmlShape):
    """The XML form of a text, which is passed unchanged."""


@frozen
class ScalarShape(XmlShape):
    """The XML form of a value that is converted from text. Surrounding whitespace is ignored."""

    empty_value: str | None = ''  # the value of an empty element

    def read(self, element: Element) -> Any:
        if element.getchildren():
            return ANY_SHAPE.read(element)
        value = text_of(element).strip() or empty_element_value(element)
        return self.empty_value if value == '' else value


@frozen(kw_only=True)
class NumberShape(ScalarShape):
    """The XML form of a number in a model. XML Schema allows more forms of numbers than JSON, such as +7, 007, .5 and
    1."""

    convert: Callable[[str], Any]  # int or float

    def read(self, element: Element) -> Any:
        text = super().read(element)
        if isinstance(text, str) and text.isascii() and '_' not in text:
            try:
                return self.convert(text)
            except ValueError:  # reported by the declaration, as any invalid number
                return text
        return text


class RawElementShape(XmlShape):
    """The XML form of a value that is passed as raw elements (use_text = False in SimpleIO)."""

    def read(self, element: Element) -> Any:
        return element


class ContainerShape(XmlShape):
    """Base class of XML forms with child elements. `make_empty` creates the value of an empty element."""

    make_empty: Callable[[], Any] = dict

    def read(self, element: Element) -> Any:
        if children := element.getchildren():
            return self.read_children(element, children)
        text = text_of(element) or empty_element_value(element)
        return text if text is None or text.strip() else self.make_empty()

    def read_children(self, element: Element, children: list[Element]) -> Any:
        """Return the value of an element with these children."""
        raise NotImplementedError


@define(eq=False)
class ObjectShape(ContainerShape):
    """The XML form of an object with declared children, by name. With a namespace, only children in that namespace are
    read."""

    fields: dict[str, XmlShape]
    namespace: str = ''
    closed: bool = False  # unknown children are read too, so that they are rejected
    pairs: bool = False  # written as pairs, and read as pairs too
    omitted_if_none: Collection[str] = ()  # fields that are not written if None, which is their default
    _tags: dict[str, str] = field(init=False, factory=dict)  # tag -> field name, '' for none

    def read_children(self, element: Element, children: list[Element]) -> dict[str, Any]:
        fields, values = self.fields, {}
        pairs: Mapping[str, Any] | None = read_pairs(children) if self.pairs else None
        for name, child in (self._known(children) if pairs is None else pairs).items():
            shape = fields.get(name, ANY_SHAPE)
            values[name] = shape.read_repeated(child) if type(child) is list else shape.read(child)
        return values

    def _known(self, children: list[Element]) -> ChildrenByName:
        """Return the declared children by field name."""
        tags = self._tags
        by_name: ChildrenByName = {}
        for child in children:
            tag = child.tag
            name = tags.get(tag)
            if name is None:
                name = self._field_name(tag)
            if name in by_name:
                add_child(by_name, name, child)
            elif name:
                by_name[name] = child
        return by_name

    def _field_name(self, tag: str) -> str:
        """Return the name of the field for a tag, '' for none."""
        namespace, _, name = tag[1:].partition('}') if tag[0] == '{' else ('', '', tag)
        if (self.namespace and namespace != self.namespace) or (name not in self.fields and not self.closed):
            name = ''
        if len(self._tags) < _MAX_TAGS * len(self.fields):
            self._tags[tag] = name
        return name

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            write_value(pieces, name, value)
        elif self.pairs:
            write_pairs(pieces, name, [(key, self.fields.get(key, ANY_SHAPE), item) for key, item in value.items()])
        else:
            pieces.append(f'<{name}>')
            for key, item in value.items():
                if item is not None or key not in self.omitted_if_none:
                    (self.fields.get(key) or undeclared_shape(key)).write(pieces, key, item)
            pieces.append(f'</{name}>')


@frozen
class ListShape(ContainerShape):
    """The XML form of a list."""

    item: XmlShape
    tag: str = ITEM
    make_empty = list

    def read(self, element: Element) -> Any:
        if element.getchildren() or not text_of(element).strip():
            return super().read(element)
        return [self.item.read(element)]

    def read_repeated(self, elements: Sequence[Element]) -> Any:
        return [self.item.read(element) for element in elements]

    def read_children(self, element: Element, children: list[Element]) -> list[Any]:
        return self.read_repeated(children) if self._wraps(children) else [self.item.read(element)]

    def _wraps(self, children: list[Element]) -> bool:
        """Return whether the children are the items, rather than the content of the only item."""
        if isinstance(self.item, (ScalarShape, TextShape)):
            return True
        names = {local_name(child) for child in children}
        return len(names) == 1 and (names <= ITEMS or not names & set(self.item.fields))

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            write_value(pieces, name, value)
            return
        pieces.append(f'<{name}>')
        for item in value:
            self.item.write(pieces, self.tag, item)
        pieces.append(f'</{name}>')


@frozen
class TupleShape(ContainerShape):
    """The XML form of a tuple, which is a list with a separate shape for each position."""

    item_shapes: tuple[XmlShape, ...]
    make_empty = list

    def read_repeated(self, elements: Sequence[Element]) -> Any:
        spare = [ANY_SHAPE] * (len(elements) - len(self.item_shapes))
        return [shape.read(element) for shape, element in zip([*self.item_shapes, *spare], elements, strict=False)]

    def read_children(self, element: Element, children: list[Element]) -> list[Any]:
        values: list[Any] = self.read_repeated(children)
        return values

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        pieces.append(f'<{name}>')
        for shape, item in zip(self.item_shapes, value, strict=False):
            shape.write(pieces, ITEM, item)
        pieces.append(f'</{name}>')


@frozen
class MappingShape(ContainerShape):
    """The XML form of a mapping with arbitrary keys."""

    value: XmlShape

    def read_children(self, element: Element, children: list[Element]) -> dict[str, Any]:
        pairs: Mapping[str, Any] | None = read_pairs(children)
        return {name: self.value.read_repeated(child) if type(child) is list else self.value.read(child)
                for name, child in (group_by_name(children) if pairs is None else pairs).items()}  # fmt: skip

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            write_pairs(pieces, name, [(key, self.value, item) for key, item in value.items()])
        else:
            write_value(pieces, name, value)


@frozen
class UnionShape(XmlShape):
    """The XML form of a union. One of several shapes is selected by the children of the element and, for models, by the
    tag."""

    scalar: XmlShape
    lists: XmlShape | None = None
    objects: Mapping[str, XmlShape] = {}  # by tag; '' if there is only one
    tag_field: str = ''

    def read(self, element: Element) -> Any:
        children = element.getchildren()
        if not children:
            return self.scalar.read(element)
        tag = read_model_tag(children, self.tag_field) if self.tag_field else ''
        return (self.objects.get(tag) or self.lists or ANY_SHAPE).read(element)

    def read_repeated(self, elements: Sequence[Element]) -> Any:
        return self.lists.read_repeated(elements) if self.lists else [self.read(element) for element in elements]

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        shape: XmlShape | None = self.scalar
        if isinstance(value, Mapping):
            shape = self.objects.get(str(value.get(self.tag_field, '')))
        elif isinstance(value, (list, tuple)):
            shape = self.lists
        (shape or ANY_SHAPE).write(pieces, name, value)


class IntTagShape(XmlShape):
    """The XML form of a model's numeric tag (discriminator), which is compared and not converted."""

    def read(self, element: Element) -> Any:
        text = text_of(element).strip()
        return int(text) if text.isdecimal() else text


class UnwritableNameShape(XmlShape):
    """The XML form of a field whose name is not a valid XML name. Writing such a field fails."""

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        undeclared_shape(name)


def empty_element_value(element: Element) -> str | None:
    """Return the value that stands for an XML element without content."""
    return None if is_nil(element) else ''


def group_by_name(children: Iterable[Element]) -> ChildrenByName:
    """Return child elements grouped by their local names. Namespaces are ignored."""
    by_name: ChildrenByName = {}
    for child in children:
        add_child(by_name, local_name(child), child)
    return by_name


def add_child(by_name: ChildrenByName, name: str, child: Element) -> None:
    """Add a child element to a dict of children by name. If the name is repeated, its value is a list."""
    if name not in by_name:
        by_name[name] = child
    elif type(existing := by_name[name]) is list:
        existing.append(child)
    else:
        by_name[name] = [existing, child]


def read_pairs(children: Iterable[Element]) -> dict[str, Element] | None:
    """Read children that consist only of pairs `<key>`, `<value>` with distinct keys. Returns the values by key, or
    None if there are other children."""
    values: dict[str, Element] = {}
    for child in children:
        parts = child.getchildren()
        pair = {local_name(part): part for part in parts}
        if local_name(child) != ITEM or pair.keys() != _PAIR or len(parts) != len(_PAIR):
            return None
        key = text_of(pair[KEY])
        if key in values:
            return None
        values[key] = pair[VALUE]
    return values


def write_pairs(pieces: list[str], name: str, pairs: Iterable[tuple[Any, XmlShape, Any]]) -> None:
    """Write keys and values as pairs `<key>`, `<value>`. Each value is written with its own shape."""
    pieces.append(f'<{name}>')
    for key, shape, value in pairs:
        pieces.append(f'<{ITEM}>')
        write_value(pieces, KEY, key)
        shape.write(pieces, VALUE, value)
        pieces.append(f'</{ITEM}>')
    pieces.append(f'</{name}>')


def undeclared_shape(name: str) -> XmlShape:
    """Return the shape of a field that is not declared. Raises NotRepresentable if its name is not a valid XML name."""
    if not is_xml_name(name):
        raise NotRepresentable(f'The name {name!r} is none for an XML element')
    return ANY_SHAPE


def read_model_tag(children: Iterable[Element], tag_field: str) -> str:
    """Read the tag (discriminator) of a model from an element's children: the text of the child `tag_field`, or '' if
    it is missing."""
    return next((text_of(child) for child in children if local_name(child) == tag_field), '')


ANY_SHAPE = XmlShape()
TEXT_SHAPE = TextShape()
