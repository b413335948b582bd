"""numpy, loaded without threads of its own: nothing here is worth them, and each takes memory."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

__all__ = ["np"]
