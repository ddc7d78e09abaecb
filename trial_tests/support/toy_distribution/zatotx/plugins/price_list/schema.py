"""The object type of price lists."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject


class PriceList(ConfigObject, frozen=True, kw_only=True):
    """The prices of a partner."""

    name: Annotated[str, field('Name of the list', min_length=1, max_length=100)]
    partner: Annotated[str, field('Security definition of the partner', ref='security')]
    prices: Annotated[dict[str, float], field('Prices by article')] = {}


OBJECT_TYPES = (
    ObjectType(
        key='price_list', struct=PriceList, section='price_list', title='Price list',
        zato=ZatoApi(prefix='price-list'),
    ),
)  # fmt: skip
