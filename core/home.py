"""Where agentlora keeps its things: ``$AGENTLORA_HOME``, default ``~/.agentlora``."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The absolute path of the home directory; it need not exist yet."""
    return Path(os.environ.get("AGENTLORA_HOME") or Path.home() / ".agentlora").expanduser().absolute()
