"""Parses YAML documents from browsers."""

from __future__ import annotations

from typing import Any

MAX_SIZE = 5_000_000  # characters


class InvalidYaml(ValueError):  # noqa: N818 - what it is
    """The text is not a single YAML mapping. The message is a sentence."""


def load_yaml(text: str) -> dict[str, Any]:
    """Parse a YAML document and return its mapping. Aliases are rejected, because they can expand a short text to a
    very large value. Raises InvalidYaml."""
    import yaml  # imported on demand, as it takes nearly a megabyte

    if len(text) > MAX_SIZE:
        raise InvalidYaml(f'The document has more than {MAX_SIZE} characters: import it with zatotx enmasse.')
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.CSafeLoader)):
            raise InvalidYaml('The document has YAML aliases (*name): write the values out.')
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise InvalidYaml(f'The document is not YAML: {" ".join(str(error).split())}') from None
    if not isinstance(document, dict):
        raise InvalidYaml('The document must be a mapping of sections, such as channel_rest, to lists of objects.')
    return document
