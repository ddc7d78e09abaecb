"""The services zato.cache.*, which give access to the caches of services over HTTP, at /zato/cache/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.model.errors import MethodNotAllowed, NotFound
from zatotx.rules.redis.cache_key_matching import SELECTIONS
from zatotx.service.cache import BUILTIN, SharedCache

_READ, _WRITE, _DELETE = frozenset({'GET', 'HEAD'}), frozenset({'POST', 'PUT', 'PATCH'}), frozenset({'DELETE'})
_METHODS = {'get': _READ, 'set': _WRITE, 'expire': _WRITE, 'delete': _DELETE}
# A regular expression of a client could keep the server busy without end.
_SELECTIONS = {name.replace('_', '-'): name for name in SELECTIONS if name != 'by_regex'}


class CacheService(AdminService):
    """Base class of the cache services. The parameter `cache`, in the query or the body, names the cache."""

    zato_dont_import = True

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the request: the query, then the body."""
        body = self.request.payload
        return {**self.request.http.GET, **(body if isinstance(body, Mapping) else {})}

    @property
    def selected_cache(self) -> SharedCache:
        """The cache that the request names, by default the default cache."""
        name = self.fields.get('cache')
        return self.cache.get_cache(BUILTIN, str(name)) if name else self.cache

    def require_method(self, *allowed: frozenset[str]) -> str:
        """Return the HTTP method. Raises MethodNotAllowed."""
        method = str(self.request.http.method).upper()
        if not any(method in methods for methods in allowed):
            raise MethodNotAllowed(self.cid, allow=sorted(frozenset().union(*allowed)))
        return method

    def value(self) -> Any:
        """Return the value to write."""
        if 'value' not in self.fields:
            raise bad_field_error('value', 'missing: the value to write')
        return self.fields['value']

    def expiry(self) -> float:
        """Return the expiry in seconds, 0.0 = never."""
        try:
            return float(self.fields.get('expiry') or 0)
        except (TypeError, ValueError):
            raise bad_field_error('expiry', 'expected a number of seconds, 0 = never') from None


class CacheEntryService(CacheService):
    """Read, write or delete the cache entry whose key is in the path. GET reads the entry, POST with `value` and
    `expiry` writes it, and DELETE deletes it."""

    name = 'zato.cache.entry'
    plain = True

    async def handle(self) -> None:
        key, cache = str(self.request.http.params['key']), self.selected_cache
        method = self.require_method(_READ, _WRITE, _DELETE)
        if method in _WRITE:
            try:
                entry = await cache.set(key, self.value(), self.expiry(), details=True)
            except (TypeError, ValueError) as error:
                raise bad_field_error('value', str(error)) from None
        elif method in _READ:
            entry = await cache.get(key, details=True)
        else:
            entry = {} if await cache.delete(key) else None
        if entry is None:
            raise NotFound(self.cid, f'There is no entry {key!r} in the cache {cache.name!r}')
        self.response.payload = attrs.asdict(entry) if method not in _DELETE else entry


class ProcessMatchingEntries(CacheService):
    """Read, write, delete or expire all cache entries whose keys match a condition. The condition is in the path, such
    as /zato/cache/get/by-prefix/user."""

    name = 'zato.cache.select'
    plain = True

    async def handle(self) -> None:
        params = self.request.http.params
        operation, selection = str(params['operation']), _SELECTIONS.get(str(params['selection']))
        if operation not in _METHODS or selection is None:
            raise NotFound(self.cid, f'URL not found: there are /zato/cache/{{{",".join(_METHODS)}}}/'
                                     f'{{{",".join(_SELECTIONS)}}}/TEXT')  # fmt: skip
        self.require_method(_METHODS[operation])
        options: dict[str, Any] = {}
        if operation in ('set', 'expire'):
            options['expiry'] = self.expiry()
        if operation == 'set':
            options['value'] = self.value()
        try:
            self.response.payload = await self.selected_cache.select(operation, selection, self._texts(), **options)
        except (TypeError, ValueError) as error:
            raise bad_field_error('value', str(error)) from None

    def _texts(self) -> Any:
        """Return what keys are compared with: the last part of the path, or `text`, which may be repeated."""
        text = self.request.http.params.get('text') or self.fields.get('text')
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
            raise bad_field_error('text', 'missing: what the keys are compared with')
        several = str(self.request.http.params['selection']) in ('contains-all', 'contains-any')
        return texts if several else texts[0]


SERVICES = (CacheEntryService, ProcessMatchingEntries)
