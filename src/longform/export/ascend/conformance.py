"""Whether a graph is one that the Ascend compiler takes, told before it runs.

The compiler looks each operator up under the opset of the *model*, not under the version in which
the operator last changed, and knows opsets 11 to 18. What it does not find fails after minutes,
one node at a time; here all of them are named at once, with the module that they come from. That
an operator is parsed does not promise that the chip has a kernel for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from longform.errors import GateError

LOWEST_OPSET, HIGHEST_OPSET = 11, 18
MOST_DIMENSIONS = 4
_DEFAULT_DOMAIN = "ai.onnx"
_DATA_DEPENDENT = {"NonZero", "Unique", "Loop", "Scan"}
_DOUBLE = 11
_HOPS = 6


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that the compiler would refuse.

    Attributes:
        node: Name of the node; empty for the graph.
        module: What it was made of, as the names of the nearest weights tell.
        reason: What is wrong.
    """

    node: str
    module: str
    reason: str

    def __str__(self) -> str:
        place = self.node and f"{self.node}{f' (of {self.module})' if self.module else ''}: "
        return f"{place}{self.reason}"


@cache
def operator_table() -> dict[str, frozenset[int]]:
    """Return `domain::operator` -> the opsets of models in which the compiler knows it."""
    file = resources.files("longform.export.ascend") / "operators.json"
    content = json.loads(file.read_text(encoding="utf-8"))["operators"]
    return {name: frozenset(_opsets(written)) for name, written in content.items()}


def check_graph(model: Any) -> list[Fault]:
    """List what the compiler would refuse of an ONNX model.

    Args:
        model: An `onnx.ModelProto`; its weights need not be there.
    """
    faults = [*_check_model(model)]
    imports = {entry.domain or _DEFAULT_DOMAIN: entry.version for entry in model.opset_import}
    constants = {value.name for value in model.graph.initializer}
    constants |= {
        name for node in model.graph.node if node.op_type == "Constant" for name in node.output
    }
    modules = _Modules(model.graph, constants)
    for node in _all_nodes(model.graph):
        reasons = [*_check_operator(node, imports), *_check_recurrent(node, constants)]
        name = node.name or f"{node.op_type} without a name"
        faults += [Fault(name, modules.of(node), reason) for reason in reasons]
    return faults


def require_conformance(name: str, model: Any) -> None:
    """Refuse a graph that the compiler would refuse.

    Args:
        name: What the graph is called.
        model: An `onnx.ModelProto`.

    Raises:
        GateError: It lists the nodes.
    """
    faults = check_graph(model)
    if not faults:
        return
    shown = "; ".join(map(str, faults[:8]))
    more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
    raise GateError(
        f"The {name} must use only what the Ascend compiler knows at its opset.",
        found=f"{shown}{more}",
        fix="Take an encoder without these operators, or export it at opset 18.",
    )


def _check_model(model: Any) -> Iterator[Fault]:
    imports = [entry.domain or _DEFAULT_DOMAIN for entry in model.opset_import]
    if len(imports) != 1:
        yield Fault("", "", f"one opset must be imported, found {', '.join(imports) or 'none'}")
    for entry in model.opset_import:
        is_standard = (entry.domain or _DEFAULT_DOMAIN) == _DEFAULT_DOMAIN
        if is_standard and not LOWEST_OPSET <= entry.version <= HIGHEST_OPSET:
            yield Fault(
                "",
                "",
                f"the opset must be {LOWEST_OPSET} to {HIGHEST_OPSET}, found {entry.version}",
            )
    if model.functions:
        yield Fault("", "", f"functions are not read, found {len(model.functions)}")
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if not value.name:
            yield Fault("", "", "every input must have a name")
        if len(tensor.shape.dim) > MOST_DIMENSIONS:
            yield Fault("", "", f"input {value.name} has {len(tensor.shape.dim)} dimensions")
        if tensor.elem_type == _DOUBLE:
            yield Fault("", "", f"input {value.name} is of double precision")


def _check_operator(node: Any, imports: dict[str, int]) -> Iterator[str]:
    domain = node.domain or _DEFAULT_DOMAIN
    if node.op_type == "Constant":
        return
    opset = imports.get(domain)
    known = operator_table().get(f"{domain}::{node.op_type}")
    if node.op_type in _DATA_DEPENDENT:
        yield f"{node.op_type} has shapes that depend on data, which gears cannot"
    elif known is None:
        yield f"the compiler has no {domain}::{opset}::{node.op_type} (E16002)"
    elif opset not in known:
        yield (
            f"the compiler knows {node.op_type} at opsets {min(known)} to {max(known)}, "
            f"not at {opset} (E16002)"
        )


def _check_recurrent(node: Any, constants: set[str]) -> Iterator[str]:
    if node.op_type not in {"LSTM", "GRU"}:
        return
    inputs = list(node.input)
    for place, what in ((1, "W"), (2, "R"), (3, "B")):
        if place < len(inputs) and inputs[place] and inputs[place] not in constants:
            yield f"{what} must be a constant, which onnxslim makes of it"
    if len(inputs) > 4 and inputs[4]:
        yield "sequence_lens must be empty: lengths are told by masks"
    for attribute in node.attribute:
        if attribute.name == "layout" and attribute.i:
            yield "layout must be 0"
        if attribute.name in {"activations", "clip"}:
            yield f"{attribute.name} must be left out"


class _Modules:
    """Tells what part of a model a node comes from, by the names of the weights around it."""

    def __init__(self, graph: Any, constants: set[str]) -> None:
        self._constants = constants
        self._maker = {output: node for node in graph.node for output in node.output}
        self._users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def of(self, node: Any) -> str:
        """Return the name of a module; empty where no weight is near."""
        near, seen = [node], {id(node)}
        for _ in range(_HOPS):
            for one in near:
                names = [name for name in one.input if name in self._constants and "." in name]
                if names:
                    return names[0].rpartition(".")[0]
            near = [
                other
                for one in near
                for other in self._neighbours(one)
                if id(other) not in seen and not seen.add(id(other))  # type: ignore[func-returns-value]
            ]
        return ""

    def _neighbours(self, node: Any) -> Iterator[Any]:
        for name in node.input:
            if name in self._maker:
                yield self._maker[name]
        for name in node.output:
            yield from self._users.get(name, ())


def _all_nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g)
            for inner in attribute.graphs:
                yield from _all_nodes(inner)


def _opsets(written: str) -> Iterable[int]:
    for span in written.split(","):
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1)
