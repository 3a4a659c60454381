"""Random numbers that do not depend on the order in which they are drawn.

Each number is a function of a seed and of its purpose. So two variants of a pipeline draw the same number for the same
call of the same item, and their difference is not noise. The method is called common random numbers (Glasserman and
Yao, 1992).
"""

from __future__ import annotations

import zlib

_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15
_SHARE = 2.0**-53


def number_of(item_id: int | str) -> int:
    """Returns a number for an item's ID. The number is the same in every process."""
    return item_id if isinstance(item_id, int) else zlib.crc32(item_id.encode())


def share_of(*what: int) -> float:
    """Returns a number from 0 up to but not including 1, uniform over different arguments.

    The finishing steps are those of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    mixed = (hash(what) * _ODD) & _MASK  # the hash of a tuple of integers is the same in all processes of 64 bits
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed >> 11) * _SHARE
