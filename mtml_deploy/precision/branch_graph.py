"""Which nodes of a graph belong to which branch, and where the paths of a branch run together.

In: an ONNX graph and the branch of each convolution. Out: answers about nodes, each named by its
first output.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


class BranchGraph:
    """A graph, coloured by the convolutions that its tensors depend on.

    Attributes:
        branches: names of the branches, in the order of the graph.
    """

    def __init__(self, model: onnx.ModelProto, convolutions: Mapping[str, str]) -> None:
        """Colour every tensor.

        Args:
            model: its nodes come after what they read.
            convolutions: node -> branch.
        """
        self.branches = tuple(dict.fromkeys(convolutions.values()))
        self._model = model
        self._convolutions = convolutions
        self._constants = {tensor.name for tensor in model.graph.initializer}
        self._colours: dict[str, frozenset[str]] = {}
        for node in model.graph.node:
            colours = {each for name in node.input for each in self._colours.get(name, ())}
            if own := convolutions.get(node.output[0]):
                colours.add(own)
            for name in node.output:
                self._colours[name] = frozenset(colours)

    def branch_of(self, tensor: str) -> str:
        """The one branch that a tensor depends on; empty where there is none, or several."""
        colours = self._colours.get(tensor, frozenset())
        return next(iter(colours)) if len(colours) == 1 else ""

    def data(self, node: onnx.NodeProto) -> list[str]:
        """What a node reads that is no constant."""
        return [name for name in node.input if name and name not in self._constants]

    def first_cut(self, branch: str, *, behind: Collection[str]) -> str | None:
        """The first tensor behind a branch's convolutions that these reach all others through.

        Args:
            branch: which.
            behind: operators of which one is between the last convolution and the tensor; where
                none is (a network may pool before its last one), the first tensor of all.

        Returns:
            The tensor; None where there is none.
        """
        last = {tensor: number for number, tensor in self._reads}
        left = sum(each == branch for each in self._convolutions.values())
        waiting: set[str] = set()
        passed, cuts = False, []
        for number, node in enumerate(self._model.graph.node):
            name = node.output[0]
            if self.branch_of(name) != branch:
                continue
            left -= name in self._convolutions
            waiting = {each for each in waiting if last[each] > number}
            if not left:
                passed = passed or node.op_type in behind
                if not waiting and passed:
                    return str(name)
                cuts += [name] if not waiting else []
            waiting |= {each for each in node.output if each in last}
        return cuts[0] if cuts else None

    def between_convolutions(self) -> list[onnx.NodeProto]:
        """Nodes of one branch between its first and its last convolutions, these too."""
        needed: set[str] = set()
        for node in reversed(self._model.graph.node):
            if node.output[0] in self._convolutions or needed & set(node.output):
                needed.update(node.input)
        return [
            node
            for node in self._model.graph.node
            if self.branch_of(node.output[0])
            and (node.output[0] in self._convolutions or needed & set(node.output))
        ]

    @cached_property
    def _reads(self) -> list[tuple[int, str]]:
        """Number of a node and tensor that it reads, in the order of nodes; outputs come last."""
        nodes = self._model.graph.node
        found = [(number, name) for number, node in enumerate(nodes) for name in node.input]
        return found + [(len(nodes), value.name) for value in self._model.graph.output]
