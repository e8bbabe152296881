"""The limits of an item, for the services and for the readers of catalogues."""

import re

MAX_TITLE_BYTES = 2_000
MAX_DESCRIPTION_BYTES = 20_000
MAX_CATEGORIES = 64
MAX_CATEGORY_BYTES = 256
MAX_ATTRIBUTES = 64
MAX_TEXTS = 64
"""The largest number of texts in one attribute."""
MAX_TEXT_BYTES = 1_024
MAX_NAME_LENGTH = 63
MAX_ITEM_BYTES = 256 * 1024
"""The largest message of an item."""

ATTRIBUTE_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{MAX_NAME_LENGTH - 1}}}")
RESERVED_NAMES = frozenset({"item_id", "title", "description", "categories", "available"})
"""Names that an attribute cannot have, since they are fields of the item."""
