"""Stages for the tests, found by name as a config's stages are."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable

import reactivex
from reactivex import Observable

NAME = __name__


def double(value: int) -> int:
    return 2 * value


async def double_soon(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def double_awaitable(value: int) -> Awaitable[int]:
    return double_soon(value)


def double_observable(value: int) -> Observable[int]:
    return reactivex.of(value, 2 * value)


def fail_for_three(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value


async def hang_for_three(value: int) -> int:
    if value == 3:
        await asyncio.sleep(60)
    return value


def block_for_three(value: int) -> int:
    if value == 3:
        time.sleep(0.4)
    return value


def interrupt_at_three(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return value


def odd_ids() -> list[object]:
    return [1, None]


async def soon_ids() -> AsyncIterator[int]:
    for number in range(4):
        yield number
