"""Work that a new process can import, and a re-ranking as a peer would offer it."""

from __future__ import annotations

import os
import signal

import numpy as np

from benchmarks.measure.process import Work

BIG_BYTES = 200 * 2**20


def environment_work() -> Work:
    """Tells the process and the threads it was given."""
    threads = [int(os.environ[f"{name}_NUM_THREADS"]) for name in ("OPENBLAS", "OMP", "MKL")]
    return Work(lambda: None, (lambda: {"pid": np.array([os.getpid()]), "threads": threads},))


def counting_work() -> Work:
    """Each timed call tells how many calls were made before it, the warm-up included."""
    calls: list[int] = []

    def act():
        calls.append(0)
        return {"before": np.array([len(calls) - 1])}

    return Work(act, (act, act, act))


def big_work() -> Work:
    """Holds `BIG_BYTES` for a moment, in the timed part."""

    def act():
        # written to, because untouched pages are not held
        return {"sum": np.array([np.ones(BIG_BYTES // 8).sum()])}

    return Work(lambda: None, (act,))


def failing_work() -> Work:
    """What a broken peer does."""
    raise RuntimeError("no such kernel")


def killed_work() -> Work:
    """What the system does to a process that takes all memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def re_ranking(q_g_dist, q_q_dist, g_g_dist, k1, k2, lambda_value):
    """k-reciprocal re-ranking of L2 distances: the definition with sets and N x N arrays."""
    queries = len(q_g_dist)
    whole = np.block([[q_q_dist, q_g_dist], [q_g_dist.T, g_g_dist]]).astype(np.float64) ** 2
    whole /= whole.max(axis=1, keepdims=True)
    np.fill_diagonal(whole, -1)  # an image is its own first neighbour
    order = np.argsort(whole, axis=1, kind="stable")
    np.fill_diagonal(whole, 0)

    def mutual(i, k):
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    vectors = np.zeros_like(whole)
    for i in range(len(whole)):
        first = mutual(i, k1)
        members = set(first)
        for j in first:
            more = mutual(j, round(k1 / 2))
            if 3 * len(more & first) > 2 * len(more):
                members |= more
        chosen = sorted(members)
        vectors[i, chosen] = np.exp(-whole[i, chosen])
        vectors[i] /= vectors[i].sum()
    vectors = np.array([vectors[order[i, :k2]].mean(axis=0) for i in range(len(whole))])
    shared = np.array([np.minimum(row, vectors[queries:]).sum(axis=1) for row in vectors[:queries]])
    jaccard = 1 - shared / (2 - shared)
    return jaccard * (1 - lambda_value) + whole[:queries, queries:] * lambda_value
