"""What tests train in: float32 always, bfloat16 too in `make test-slow`."""

from __future__ import annotations

import pytest

DTYPES = ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)]
