"""Work in flight: order, how much of it, and what an error leaves behind."""

from __future__ import annotations

import pytest

from mtml_deploy.runtime.in_flight import in_flight


class Worker:
    """Notes what was begun and collected."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done: list[int] = []

    def start(self, given: int):
        self.begun.append(given)

        def collect() -> int:
            if given < 0:
                raise RuntimeError(f"{given} failed")
            self.done.append(given)
            return 10 * given

        return collect


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_results_keep_the_order_and_work_goes_on_while_one_is_used(most):
    worker = Worker()
    for number, result in enumerate(in_flight(range(1, 6), worker.start, most=most)):
        assert result == 10 * (number + 1)
        # `most` of them are at work while the caller has this one, as long as there are inputs
        assert len(worker.begun) == min(5, number + 1 + most)
    assert worker.done == [1, 2, 3, 4, 5]


def test_no_input_gives_nothing():
    assert list(in_flight([], Worker().start, most=2)) == []


def test_an_error_of_the_inputs_comes_last():
    def inputs():
        yield from (1, 2, 3)
        raise OSError("gone")

    worker, found = Worker(), []
    with pytest.raises(OSError, match="gone"):
        found.extend(in_flight(inputs(), worker.start, most=2))
    assert found == [10, 20, 30]


def test_a_failed_result_waits_for_what_is_still_at_work():
    worker, found = Worker(), []
    with pytest.raises(RuntimeError, match="-2 failed"):
        for result in in_flight([1, -2, 3, 4], worker.start, most=2):
            found.append(result)
    assert found == [10]
    assert worker.begun == [1, -2, 3] and worker.done == [1, 3]


def test_closing_early_waits_for_what_is_at_work():
    worker = Worker()
    results = in_flight(range(1, 9), worker.start, most=3)
    assert next(results) == 10
    results.close()
    assert worker.begun == worker.done == [1, 2, 3, 4]
