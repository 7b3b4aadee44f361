"""Characters that cannot be seen, named: what a model wrote may steer a terminal, or turn the text beside it."""

from __future__ import annotations

import re

# Controls (but tab and line ends), soft hyphens, marks and overrides of direction (bidi), joiners of nothing, tags,
# half surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def named(text: str) -> str:
    """`text` with what cannot be seen as ``[U+202E]``."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)
