"""Display labels of object types and their fields: headings, field labels, and menu areas.

They are derived from the declarations, so that a type of any kind has them.
"""

from __future__ import annotations

from zatotx.schema.meta import ObjectType

_UPPER_CASE = frozenset({
    'acct', 'ca', 'cors', 'crl', 'csv', 'db', 'ftp', 'http', 'id', 'ip', 'jms', 'json', 'jwks', 'jwt', 'mq', 'san',
    'soap', 'sql', 'ssl', 'tls', 'ttl', 'uri', 'url', 'wsdl', 'xml', 'amqp', 'zmq',
})  # fmt: skip
_WORDS = {'req': 'request', 'params': 'parameters', 'pri': 'priority', 'expr': 'expression', 'creat': 'creation',
          'etag': 'ETag', 'wsdl': 'WSDL', 'def': 'definition', 'exp': 'expiry'}  # fmt: skip
_LABELS = {'is_active': 'Active', 'conn': 'Connection'}

SECURITY, CHANNELS, OUTGOING, DEFINITIONS, SCHEDULER, OTHER = (
    'Security', 'Channels', 'Outgoing', 'Definitions', 'Scheduler', 'Other',
)  # fmt: skip


def field_label(name: str) -> str:
    """Return the label of a field. The label of `url_path` is 'URL path', and that of `is_active` is 'Active'."""
    if name in _LABELS:
        return _LABELS[name]
    words = [word.upper() if word in _UPPER_CASE else _WORDS.get(word, word) for word in name.split('_') if word]
    text = ' '.join(words) or name
    return text[:1].upper() + text[1:]


def list_heading_of(object_type: ObjectType) -> str:
    """Return the heading of a list of objects, such as 'REST channels', 'Outgoing REST' or 'JWT definitions'."""
    if object_type.heading:
        return object_type.heading
    title = object_type.title or field_label(object_type.key)
    if title.startswith('Outgoing '):
        return title.removesuffix(' connection')
    return title if title.endswith('s') else f'{title}s'


def menu_area_of(object_type: ObjectType) -> str:
    """Return the menu area of an object type, derived from its section and its Zato prefix."""
    section, prefix = object_type.section, '' if object_type.zato is None else object_type.zato.prefix
    if section == 'security' or section == 'groups':
        return SECURITY
    if section.startswith('channel') or prefix.startswith('channel.'):
        return CHANNELS
    if section.startswith('outgoing') or prefix.startswith('outgoing.'):
        return OUTGOING
    if section.startswith('definition') or prefix.startswith('definition.'):
        return DEFINITIONS
    return SCHEDULER if section == 'scheduler' else OTHER
