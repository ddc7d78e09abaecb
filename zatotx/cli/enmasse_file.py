"""Parses enmasse files: strict YAML with limits on size and depth, and errors with line numbers."""

from __future__ import annotations

from collections.abc import Hashable
from math import isfinite
from typing import TYPE_CHECKING, Any

import yaml

from zatotx.cli.errors import CommandError

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 5_000_000  # with all aliases expanded: limits alias bombs

MERGE = 'tag:yaml.org,2002:merge'

if TYPE_CHECKING:
    Base = yaml.SafeLoader
else:
    Base = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


UNUSED = ('binary', 'timestamp', 'omap', 'pairs', 'set')  # YAML types that JSON, in which the document is sent, lacks
UNUSED_TAGS = frozenset(f'tag:yaml.org,2002:{name}' for name in UNUSED)


class StrictLoader(Base):
    """Safe YAML loader that rejects duplicate keys and keys that are not strings, and leaves dates as strings."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in UNUSED_TAGS]
        for first, resolvers in Base.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: construct for tag, construct in Base.yaml_constructors.items() if tag not in UNUSED_TAGS
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in ('tag:yaml.org,2002:str', MERGE):
                raise yaml.constructor.ConstructorError(None, None, 'a key must be text', key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f'duplicate key {key.value}', key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value: float = super().construct_yaml_float(node)
        if not isfinite(value):
            raise yaml.constructor.ConstructorError(None, None, f'{node.value} is not a number', node.start_mark)
        return value


StrictLoader.add_constructor('tag:yaml.org,2002:float', StrictLoader.construct_yaml_float)


def parse_yaml(name: str, content: bytes) -> dict[str, Any]:
    """Parse the YAML document of the file `name`. Raises CommandError, whose message contains the line of the first
    error."""
    if len(content) > MAX_BYTES:
        raise CommandError(f'{name} has {len(content)} bytes, the maximum is {MAX_BYTES}: import it in parts.')
    try:
        check_depth(content)
        document = load_document(name, content)
    except yaml.MarkedYAMLError as error:
        raise CommandError(f'{name}{line_suffix(error.problem_mark)}: {error.problem or error.context}.') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f'{name}: {" ".join(str(error).split())}.') from None
    if not isinstance(document, dict):
        raise CommandError(f'{name} must be a mapping of sections (security, channel_rest …) to lists of objects.')
    return document


def check_depth(content: bytes) -> None:
    """Raise YAMLError if values are nested too deeply. The recursive C code that composes YAML values would otherwise
    overflow the stack and crash the process.
    """
    depth = 0
    for event in yaml.parse(content, Loader=Base):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(f'values are nested more than {MAX_DEPTH} levels deep')
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def load_document(name: str, content: bytes) -> object:
    """Load the single YAML document of a file. Returns {} for an empty file."""
    loader = StrictLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        check_size(name, node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def line_suffix(mark: yaml.error.Mark | None) -> str:
    return f', line {mark.line + 1}' if mark is not None else ''


def check_size(name: str, root: yaml.Node) -> None:
    """Raise CommandError if the document, with all aliases expanded, is too large."""
    sizes: dict[int, int] = {}
    if expanded_size(root, sizes) > MAX_VALUES:
        raise CommandError(f'{name}: its aliases expand to more than {MAX_VALUES} values.')


def expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of values to which a node expands. `sizes` caches the results of nodes that several aliases
    share."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    known = sizes.get(id(node))
    if known == 0:  # the alias refers to a node that contains it
        raise yaml.composer.ComposerError(None, None, 'an alias refers to a value that contains it', node.start_mark)
    if known is None:
        sizes[id(node)] = 0
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(item,) for item in node.value]
        known = sizes[id(node)] = 1 + sum(expanded_size(child, sizes) for pair in pairs for child in pair)
    return known
