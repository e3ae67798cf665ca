"""Work that is started before the one before it is collected, so that what computes never waits.

In: inputs and a function that starts one. Out: the results in the order of the inputs. Every
backend that works asynchronously streams through this one loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


def in_flight(
    inputs: Iterable[Given], start: Callable[[Given], Callable[[], Result]], *, most: int
) -> Iterator[Result]:
    """Results of inputs, in their order, with up to `most` of them at work.

    An error of `inputs` is raised after the results of all inputs before it. Where `start` or a
    result fails, or the iterator is closed early, what is still at work is waited for: its buffers
    are free afterwards.

    Args:
        inputs: read one by one, in the caller's thread.
        start: begins the work on one input; what it returns waits for the result, and again if
            that was interrupted.
        most: inputs at work at once, 1 or more.

    Yields:
        One result per input.

    Raises:
        Exception: what `inputs`, `start` or a result raises.
    """
    waiting: deque[Callable[[], Result]] = deque()
    failure: Exception | None = None
    source = iter(inputs)
    try:
        while failure is None:
            try:
                given = next(source)
            except StopIteration:
                break
            except Exception as error:  # not of this loop: raised below, after what was begun
                failure = error
                break
            if len(waiting) < most:
                waiting.append(start(given))
                continue
            result = waiting[0]()  # stays there until it is done: an interrupt may come
            waiting.popleft()
            waiting.append(start(given))  # before the caller takes its time over the result
            yield result
        while waiting:
            result = waiting[0]()
            waiting.popleft()
            yield result
        if failure is not None:
            raise failure
    finally:
        for collect in waiting:
            with suppress(Exception):
                collect()
