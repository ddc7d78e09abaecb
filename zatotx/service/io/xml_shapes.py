"""What declared values look like in XML, both ways: a class for each form, which reads elements and writes values.

What is read has texts at its ends, None for xsi:nil; converting them is the declaration's part. An element is taken for
what is declared: `<tags>a</tags>` is a text, or a list of one.

    scalar      <qty>5</qty>
    object      <customer><name>Ann</name></customer>
    list        <tags><item>a</item><item>b</item></tags>, also read: <tags>a</tags><tags>b</tags>
    pairs       <codes><item><key>a</key><value>1</value></item></codes>, also read: <codes><a>1</a></codes>

Elements may be plain ones (wire.xml.Plain, the quick way) or those of lxml.objectify, whose `len` and iteration are
about siblings, and cost what all of those cost: only `getchildren` tells what is in an element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from zatotx.wire.xml.parser import Element, is_nil, local_name, text_of
from zatotx.wire.xml.writer import ITEM, KEY, VALUE, NotRepresentable, is_name, write

ITEMS = frozenset((ITEM, 'item_dict', 'dict'))  # what Zato calls the elements of a list
_PAIR = frozenset((KEY, VALUE))
_MOST_TAGS = 8  # a field, that are remembered: in one namespace, or in none, as a rule

Found = dict[str, 'Element | list[Element]']  # children by name: one, or all that are called the same


class XmlShape:
    """A value that says itself what it is: a text, an object of whatever children it has, a list where a name is
    repeated."""

    fields: Collection[str] = ()  # the names of its children, where they are known
    # (pieces, name, value): write a value as an element of that name. Raises NotRepresentable.
    write: Callable[[list[str], str, Any], None] = staticmethod(write)

    def one(self, element: Element) -> Any:
        """The value of an element."""
        if children := element.getchildren():
            return {name: self.several(found) if type(found) is list else self.one(found)
                    for name, found in grouped(children).items()}  # fmt: skip
        return text_of(element) or of_empty(element)

    def several(self, elements: Sequence[Element]) -> Any:
        """The value of elements of one name."""
        return [self.one(element) for element in elements]


class TextShape(XmlShape):
    """A text as it is."""


@frozen
class ScalarShape(XmlShape):
    """A text that is converted: blanks around it say nothing."""

    nothing: str | None = ''  # what an empty element is

    def one(self, element: Element) -> Any:
        if element.getchildren():
            return ANYTHING.one(element)
        value = text_of(element).strip() or of_empty(element)
        return self.nothing if value == '' else value


@frozen(kw_only=True)
class NumeralShape(ScalarShape):
    """A number of a model. XML Schema has more ways of writing one than JSON: +7, 007, .5, 1."""

    of: Callable[[str], Any]  # int or float

    def one(self, element: Element) -> Any:
        text = super().one(element)
        if isinstance(text, str) and text.isascii() and '_' not in text:
            try:
                return self.of(text)
            except ValueError:  # told by the declaration, as all that is none
                return text
        return text


class UntouchedShape(XmlShape):
    """The elements themselves (SimpleIO's use_text = False)."""

    def one(self, element: Element) -> Any:
        return element


class ContainerShape(XmlShape):
    """What has children: `inside` is their value, `made_of` what stands for no content at all."""

    made_of: Callable[[], Any] = dict

    def one(self, element: Element) -> Any:
        if children := element.getchildren():
            return self.inside(element, children)
        text = text_of(element) or of_empty(element)
        return text if text is None or text.strip() else self.made_of()

    def inside(self, element: Element, children: list[Element]) -> Any:
        """The value of an element with these children."""
        raise NotImplementedError


@define(eq=False)
class ObjectShape(ContainerShape):
    """Known children, by name. With a namespace, only those in it."""

    fields: dict[str, XmlShape]
    namespace: str = ''
    closed: bool = False  # unknown children are read too, so that they are refused
    pairs: bool = False  # they go out as pairs, and may come so
    left_out: Collection[str] = ()  # those that are not there where they are None: it is what nothing means for them
    _tags: dict[str, str] = field(init=False, factory=dict)  # names of fields by the tags they came under; '' = none

    def inside(self, element: Element, children: list[Element]) -> dict[str, Any]:
        fields, out = self.fields, {}
        found: Mapping[str, Any] | None = paired(children) if self.pairs else None
        for name, child in (self._known(children) if found is None else found).items():
            shape = fields.get(name, ANYTHING)
            out[name] = shape.several(child) if type(child) is list else shape.one(child)
        return out

    def _known(self, children: list[Element]) -> Found:
        tags = self._tags
        out: Found = {}
        for child in children:
            tag = child.tag
            name = tags.get(tag)
            if name is None:
                name = self._name(tag)
            if name in out:
                add(out, name, child)
            elif name:
                out[name] = child
        return out

    def _name(self, tag: str) -> str:
        """The name of the field that a tag stands for, '' for none."""
        space, _, name = tag[1:].partition('}') if tag[0] == '{' else ('', '', tag)
        if (self.namespace and space != self.namespace) or (name not in self.fields and not self.closed):
            name = ''
        if len(self._tags) < _MOST_TAGS * len(self.fields):
            self._tags[tag] = name
        return name

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            write(pieces, name, value)
        elif self.pairs:
            in_pairs(pieces, name, [(key, self.fields.get(key, ANYTHING), item) for key, item in value.items()])
        else:
            pieces.append(f'<{name}>')
            for key, item in value.items():
                if item is not None or key not in self.left_out:
                    (self.fields.get(key) or unknown(key)).write(pieces, key, item)
            pieces.append(f'</{name}>')


@frozen
class ItemsShape(ContainerShape):
    """A list."""

    item: XmlShape
    tag: str = ITEM
    made_of = list

    def one(self, element: Element) -> Any:
        if element.getchildren() or not text_of(element).strip():
            return super().one(element)
        return [self.item.one(element)]

    def several(self, elements: Sequence[Element]) -> Any:
        return [self.item.one(element) for element in elements]

    def inside(self, element: Element, children: list[Element]) -> list[Any]:
        return self.several(children) if self._wraps(children) else [self.item.one(element)]

    def _wraps(self, children: list[Element]) -> bool:
        """Whether these are the items, not what the only item is made of."""
        if isinstance(self.item, (ScalarShape, TextShape)):
            return True
        names = {local_name(child) for child in children}
        return len(names) == 1 and (names <= ITEMS or not names & set(self.item.fields))

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            write(pieces, name, value)
            return
        pieces.append(f'<{name}>')
        for item in value:
            self.item.write(pieces, self.tag, item)
        pieces.append(f'</{name}>')


@frozen
class RowShape(ContainerShape):
    """A list whose places have shapes of their own."""

    places: tuple[XmlShape, ...]
    made_of = list

    def several(self, elements: Sequence[Element]) -> Any:
        spare = [ANYTHING] * (len(elements) - len(self.places))
        return [shape.one(each) for shape, each in zip([*self.places, *spare], elements, strict=False)]

    def inside(self, element: Element, children: list[Element]) -> list[Any]:
        found: list[Any] = self.several(children)
        return found

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        pieces.append(f'<{name}>')
        for shape, item in zip(self.places, value, strict=False):
            shape.write(pieces, ITEM, item)
        pieces.append(f'</{name}>')


@frozen
class PairsShape(ContainerShape):
    """A mapping whose keys may be any text."""

    value: XmlShape

    def inside(self, element: Element, children: list[Element]) -> dict[str, Any]:
        found: Mapping[str, Any] | None = paired(children)
        return {name: self.value.several(each) if type(each) is list else self.value.one(each)
                for name, each in (grouped(children) if found is None else found).items()}  # fmt: skip

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            in_pairs(pieces, name, [(key, self.value, item) for key, item in value.items()])
        else:
            write(pieces, name, value)


@frozen
class UnionShape(XmlShape):
    """One of several: what it is shows by its children, and of models by the tag."""

    scalar: XmlShape
    lists: XmlShape | None = None
    objects: Mapping[str, XmlShape] = {}  # by tag; '' where there is but one
    tag_field: str = ''

    def one(self, element: Element) -> Any:
        children = element.getchildren()
        if not children:
            return self.scalar.one(element)
        tag = tagged(children, self.tag_field) if self.tag_field else ''
        return (self.objects.get(tag) or self.lists or ANYTHING).one(element)

    def several(self, elements: Sequence[Element]) -> Any:
        return self.lists.several(elements) if self.lists else [self.one(each) for each in elements]

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        shape: XmlShape | None = self.scalar
        if isinstance(value, Mapping):
            shape = self.objects.get(str(value.get(self.tag_field, '')))
        elif isinstance(value, (list, tuple)):
            shape = self.lists
        (shape or ANYTHING).write(pieces, name, value)


class IntTagShape(XmlShape):
    """The tag of a model, where it is a number: it is compared, not converted."""

    def one(self, element: Element) -> Any:
        text = text_of(element).strip()
        return int(text) if text.isdecimal() else text


class UnnamedShape(XmlShape):
    """A field that is called as no element can be."""

    def write(self, pieces: list[str], name: str, value: Any) -> None:
        unknown(name)


def of_empty(element: Element) -> str | None:
    """What an element without any content is."""
    return None if is_nil(element) else ''


def grouped(children: Iterable[Element]) -> Found:
    """Children by name, in any namespace."""
    out: Found = {}
    for child in children:
        add(out, local_name(child), child)
    return out


def add(out: Found, name: str, child: Element) -> None:
    """One more child of that name."""
    if name not in out:
        out[name] = child
    elif type(known := out[name]) is list:
        known.append(child)
    else:
        out[name] = [known, child]


def paired(children: Iterable[Element]) -> dict[str, Element] | None:
    """The values by key, where all children are pairs of `<key>` and `<value>`; None where they are not, and where a
    key comes twice."""
    out: dict[str, Element] = {}
    for child in children:
        parts = child.getchildren()
        pair = {local_name(part): part for part in parts}
        if local_name(child) != ITEM or pair.keys() != _PAIR or len(parts) != len(_PAIR):
            return None
        key = text_of(pair[KEY])
        if key in out:
            return None
        out[key] = pair[VALUE]
    return out


def in_pairs(pieces: list[str], name: str, pairs: Iterable[tuple[Any, XmlShape, Any]]) -> None:
    """Write keys, whatever they are, and values of the shape beside them."""
    pieces.append(f'<{name}>')
    for key, shape, value in pairs:
        pieces.append(f'<{ITEM}>')
        write(pieces, KEY, key)
        shape.write(pieces, VALUE, value)
        pieces.append(f'</{ITEM}>')
    pieces.append(f'</{name}>')


def unknown(name: str) -> XmlShape:
    """The shape of what nobody declared. Raises NotRepresentable where no element can be called so."""
    if not is_name(name):
        raise NotRepresentable(f'The name {name!r} is none for an XML element')
    return ANYTHING


def tagged(children: Iterable[Element], tag_field: str) -> str:
    """What an element says to be: the text of a child of that name; '' for nothing."""
    return next((text_of(child) for child in children if local_name(child) == tag_field), '')


ANYTHING = XmlShape()
TEXT = TextShape()
