"""Random numbers that do not depend on the order in which they are asked for.

Each is a function of a seed and of what it is for: so two variants of a pipeline draw the same for the same call of the
same item, and their difference is not noise. These are called common random numbers (Glasserman and Yao, 1992).
"""

from __future__ import annotations

import zlib

_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15
_SHARE = 2.0**-53


def number_of(item_id: int | str) -> int:
    """A number for an item's ID, the same in every process."""
    return item_id if isinstance(item_id, int) else zlib.crc32(item_id.encode())


def share_of(*what: int) -> float:
    """A number of at least 0 and below 1, uniform over different arguments.

    The finishing steps are those of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    mixed = (hash(what) * _ODD) & _MASK  # the hash of a tuple of integers is the same in all processes of 64 bits
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed >> 11) * _SHARE
