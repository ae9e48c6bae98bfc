"""Arrays of positions, shared by what reads records and what reports them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
"""Byte positions, row numbers, or record numbers, counted from 0."""
