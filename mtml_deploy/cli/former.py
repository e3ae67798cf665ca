"""Former spellings: what an old word is answered with, so that nobody has to search.

In: a command and an option that it does not have. Out: how that is said now. No old word runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click

_ARGUMENT: Final = ": the model is an argument now"
_JSON: Final = " takes a FILE now, and - for stdout: say --json -"
_SCALED: Final = " is what is done now; leave it out, or say --no-normalise"


def _say(option: str) -> str:
    """A renaming."""
    return f" is called {option} now"


_DEPLOY: Final = {
    "rank --model": f"{_ARGUMENT}: mtml-deploy rank MODEL --query QUERY --gallery GALLERY",
    "rank --compare": _say("--compare-query"),
    "rank --engine": _say("--search-engine"),
    "search --model": f"{_ARGUMENT}: mtml-deploy search MODEL --gallery GALLERY --query QUERY",
    "gallery create --model": f"{_ARGUMENT}: mtml-deploy gallery create GALLERY MODEL",
    "gallery add --model": f"{_ARGUMENT}: mtml-deploy gallery add GALLERY MODEL --images SOURCE",
    "gallery migrate --model": f"{_ARGUMENT}: mtml-deploy gallery migrate OLD NEW MODEL",
    "gallery tune --queries": _say("--query"),
    "gallery info --json": _JSON,
    "info --json": _JSON,
    "doctor --json": _JSON,
    "aicity check --queries": _say("--query-count"),
    "aicity check --gallery": _say("--gallery-count"),
    "aicity split --test-share": _say("--holdout"),
    "calibrate choose --heldout-fraction": _say("--holdout"),
    "calibrate compare --list": _say("--calibration"),
    "centre --by": _say("--means-of"),
    "centre --normalise": _SCALED,
    "compress --normalise": _SCALED,
    "deepstream --batch": _say("--batch-size"),
    "serve --compare": _say("--compare-model"),
    "serve --queue": _say("--queue-size"),
    "serve --max-delay-ms": _say("--queue-delay-ms"),
    "triton --engine": _say("--plan-file"),
    "triton --queue-delay-us": " is called --queue-delay-ms now, in milliseconds",
}
_BENCHMARKS: Final = {
    **{
        f"{command} --artifact": f"{_ARGUMENT}: python -m benchmarks {command} MODEL ..."
        for command in (
            *("all", "branches", "embed", "isa", "latency", "parity", "roofline", "service"),
            "throughput",
        )
    },
    **{
        f"{command} --threads": _say("--model-threads")
        for command in (
            *("all", "branches", "isa", "latency", "layouts", "ranking", "service", "throughput"),
            *("train", "training"),
        )
    },
    **{f"{command} --decode-threads": _say("--threads") for command in ("embed", "parity")},
    **{
        f"{command} --batch": _say("--batch-size")
        for command in ("latency", "layouts", "roofline", "throughput")
    },
    "branches --branch-artifact": _say("--branch-model"),
    "isa --int8": _say("--int8-model"),
    "ranking --peer-fastreid": _say("--peer-fast-reid"),
    "roofline --gpu": _say("--gpu-name"),
    "roofline --precision": " is fp16 now; for the other one say --int8",
    "service --queue": _say("--queue-size"),
}

FORMER: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{f"mtml-deploy {words}": text for words, text in _DEPLOY.items()},
        **{f"benchmarks {words}": text for words, text in _BENCHMARKS.items()},
        "mtml-train synthetic --image-size": _say("--longest-side"),
    }
)
"""Program, command and an option as it was written -> what it is now, as the end of a sentence."""


def former_spelling(context: click.Context, option: str) -> str | None:
    """What to say to an option that a command does not have; None for one it never had.

    Args:
        context: of the command.
        option: as the user wrote it.
    """
    words = [option]
    walked: click.Context | None = context
    while walked is not None:
        words.insert(0, walked.command.name or "")
        walked = walked.parent
    text = FORMER.get(" ".join(words))
    return None if text is None else f"{option}{text}"
