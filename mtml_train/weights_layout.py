"""Where in a file of another program a network lies: told by names and shapes, not by the program.

Programs wrap a network: torch's DataParallel in "module.", Lightning in "model.", fast-reid in
"backbone.", others in "base."; and keep heads beside it. In: all tensors of a file, and those of a
network. Out: the file's tensors by the network's names, and what else is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

_COUNTER = "num_batches_tracked"
"""Nothing computes with it, and old files have none."""


@dataclass(frozen=True)
class NamedIn:
    """A network in a file.

    Attributes:
        tensors: name in the network -> tensor.
        prefix: what stands before these names in the file.
        left_out: names of all other tensors of the file.
    """

    tensors: Mapping[str, Tensor]
    prefix: str
    left_out: tuple[str, ...]


def named_in(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, heads: Sequence[str] = ()
) -> NamedIn:
    """The tensors of a file that are those of a network.

    Args:
        state: of the file.
        own: of the network, for names and shapes.
        heads: how names begin that a file may have beside those of the network, though the network
            has others that begin alike.

    Returns:
        What was found. Tensors that contradict the network are among `tensors`: one of its own
        names in another shape, a name inside one of its modules, and any further convolution.

    Raises:
        ValueError: the file holds the network several times, or nothing of it.
    """
    prefixes = _prefixes(state, own)
    if not prefixes:
        raise ValueError(
            f"not one of its {len(state)} tensors has name and shape of one of the network's "
            f"{len(own)}"
        )
    most = max(prefixes.values())
    best = [prefix for prefix, count in prefixes.items() if count == most]
    if len(best) > 1:
        raise ValueError(
            "it holds such a network more than once (under "
            + ", ".join(f'"{prefix}"' for prefix in best[:4])
            + "), expected one; a run or checkpoint of mtml-train is given with --init"
        )
    (prefix,) = best
    inside = {name.partition(".")[0] for name in own}
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for key, value in state.items():
        name = key.removeprefix(prefix)
        known = name in own or (
            not name.startswith(tuple(heads))
            and (name.partition(".")[0] in inside or value.ndim == 4)
        )
        if key.startswith(prefix) and known:
            tensors[name] = value
        else:
            left_out.append(key)
    return NamedIn(tensors, prefix, tuple(left_out))


def _prefixes(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Counter[str]:
    """What stands before names of the network in the file, and before how many."""
    found: Counter[str] = Counter()
    for key, value in state.items():
        parts = key.split(".")
        for cut in range(len(parts)):
            name = ".".join(parts[cut:])
            if name in own and not name.endswith(_COUNTER) and own[name].shape == value.shape:
                found["".join(f"{part}." for part in parts[:cut])] += 1
                break
    return found
