"""`WorkerThreads`: no job is left behind, jobs run side by side, and threads live while there are users."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_helpers import LIMIT

from rxpipe.operators.core.threads import WorkerThreads, taken_from


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rxpipe-test")]


def never(*args: object) -> None:
    raise AssertionError("refused")


def wait_for_the_end() -> None:
    while left := alive():  # one that ends may just have called another
        getattr(left[0], "_started").wait(LIMIT)  # noqa: B009 - else it cannot be joined yet
        left[0].join(LIMIT)
        assert not left[0].is_alive()


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    """Threads of the test's own, in use by it, which have ended when it has."""
    threads, user = WorkerThreads("rxpipe-test"), object()
    threads.enter(user)
    yield threads
    threads.leave(user)
    wait_for_the_end()


def test_jobs_that_wait_for_each_other(threads: WorkerThreads) -> None:
    """There are as many threads as jobs that run at once."""
    meet = threading.Barrier(20)

    def job() -> None:
        meet.wait(LIMIT)

    for _ in range(19):
        threads.submit(job, never)
    meet.wait(LIMIT)
    assert len(alive()) == 19


def test_a_job_from_a_thread_that_goes_on(threads: WorkerThreads) -> None:
    """A job does not wait for the one that submits it: that one may wait for it."""
    done, over = threading.Event(), threading.Event()

    def outer() -> None:
        threads.submit(done.set, never)
        assert done.wait(LIMIT)
        over.set()

    threads.submit(outer, never)
    assert over.wait(LIMIT)


def test_idle_threads_are_used_again(threads: WorkerThreads) -> None:
    """One after the other, jobs need few threads."""
    done = threading.Semaphore(0)
    for _ in range(500):
        threads.submit(done.release, never)
        assert done.acquire(timeout=LIMIT)
    assert len(alive()) <= 2


def test_a_job_is_let_go_of(threads: WorkerThreads) -> None:
    """An idle thread keeps nothing alive."""

    class Value:
        def act(self) -> None:
            pass

    value = Value()
    ref = weakref.ref(value)
    done = threading.Event()
    threads.submit(value.act, never)
    threads.submit(done.set, never)
    del value
    assert done.wait(LIMIT)
    gc.collect()
    meet = threading.Barrier(len(alive()) + 1)
    for _ in range(meet.parties - 1):
        threads.submit(meet.wait, never, LIMIT)
    meet.wait(LIMIT)
    assert ref() is None


def test_threads_end_with_the_last_user() -> None:
    """Not with the first, and again after they have been needed again."""
    threads, done = WorkerThreads("rxpipe-test"), threading.Semaphore(0)
    for _ in range(50):
        users = object(), object()
        for user in users:
            threads.enter(user)
        threads.leave(users[0])
        threads.leave(users[0])
        threads.submit(done.release, never)
        assert done.acquire(timeout=LIMIT)
        assert alive() != []
        threads.leave(users[1])
        wait_for_the_end()


def test_a_job_after_the_last_user_has_left() -> None:
    """It is run by a thread that ends then."""
    threads, done = WorkerThreads("rxpipe-test"), threading.Event()
    threads.submit(done.set, never)
    assert done.wait(LIMIT)
    wait_for_the_end()


@pytest.mark.slow
def test_no_job_is_left_behind() -> None:
    """Under a barrage from many sides, with users that come and go, each job runs once."""
    threads, lock, ran = WorkerThreads("rxpipe-test"), threading.Lock(), list[tuple[int, int]]()
    start = threading.Barrier(6)
    all_done = threading.Semaphore(0)

    def note(sender: int, number: int) -> None:
        with lock:
            ran.append((sender, number))
        all_done.release()

    def send(sender: int) -> None:
        start.wait(LIMIT)
        for number in range(300):
            user = object()
            threads.enter(user)
            threads.submit(note, never, sender, number)
            threads.leave(user)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(6)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join(LIMIT)
    for _ in range(1800):
        assert all_done.acquire(timeout=LIMIT)
    wait_for_the_end()
    assert sorted(ran) == [(sender, number) for sender in range(6) for number in range(300)]


@given(st.lists(st.integers(0, 3), max_size=30))
def test_jobs_that_submit_jobs(plan: list[int]) -> None:
    """Whatever submits what: all of it runs."""
    threads, user, done = WorkerThreads("rxpipe-test"), object(), threading.Semaphore(0)
    threads.enter(user)

    def job(more: int) -> None:
        for _ in range(more):
            threads.submit(job, never, 0)
        done.release()

    for more in plan:
        threads.submit(job, never, more)
    for _ in range(len(plan) + sum(plan)):
        assert done.acquire(timeout=LIMIT)
    threads.leave(user)
    wait_for_the_end()


def test_where_no_thread_can_be_made(threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is refused, and not run later."""
    ran, refused = list[int](), list[int]()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        threads.submit(ran.append, refused.append, 1)
    assert refused == [1]
    done = threading.Event()
    threads.submit(done.set, never)
    assert done.wait(LIMIT)
    assert ran == []


def test_jobs_that_count_on_a_thread_that_cannot_be_made(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come while it is being made: they are refused, too, rather than forgotten."""
    ran, refused = list[int](), list[int]()

    def refuse(thread: threading.Thread) -> None:
        if len(refused) == 0 and len(more) > 0:
            threads.submit(ran.append, refused.append, more.pop())
        raise RuntimeError("can't start new thread")

    more = [2]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        threads.submit(ran.append, refused.append, 1)
    assert (ran, refused) == ([], [1, 2])


def test_an_interrupt_while_a_thread_is_made(threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, and the job runs with the next one."""
    done = threading.Semaphore(0)

    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            threads.submit(done.release, never)
    threads.submit(done.release, never)
    for _ in range(2):
        assert done.acquire(timeout=LIMIT)


def test_one_of_equal_tokens() -> None:
    """As many are taken as there are."""
    tokens: list[None] = [None, None]
    assert [taken_from(tokens) for _ in range(3)] == [True, True, False]


FORK = """
import os, threading
from rxpipe import Retry, from_iterable, operators as ops

def run():
    done, out, calls = threading.Event(), [], []
    async def answer(value):
        calls.append(value)
        if len(calls) == 1:
            raise ValueError
        return value
    retry = Retry(initial=0.001, max_delay=0.001)
    from_iterable([1, 2]).pipe(ops.stage(abs, timeout=60), ops.stage(answer, timeout=60, retry=retry)).subscribe(
        out.append, print, done.set
    )
    assert done.wait(20)
    assert sorted(out) == [1, 2], out

hold = threading.Event()
inside = threading.Event()
def block(value):
    inside.set()
    hold.wait()
from_iterable([1]).pipe(ops.stage(block, timeout=3600)).subscribe(print)
run()
assert inside.wait(20)
child = os.fork()
if child == 0:
    run()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """Neither worker threads, nor the timer thread, nor the background loop are waited for in vain."""
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")
