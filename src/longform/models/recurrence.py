"""Recurrent layers over padded rows, without packed sequences: they export, and run on an NPU."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from longform.models.pooling import last_vector


class Recurrence(nn.Module):
    """Stacked LSTM or GRU layers in one or two directions, each a module of one layer.

    The second direction is a one-directional layer over the rows reversed *within their own
    length*; so padding is never read before what is real, and neither packed sequences nor a
    bidirectional operator are needed. Arithmetic stays in the precision of the weights, outside
    autocast: recurrent operators of accelerators take no bf16, and errors add up over the steps.

    Args:
        cell: `nn.LSTM` or `nn.GRU`.
        width: Of what is read.
        hidden: Of each direction.
        layers: One above the other.
        bidirectional: Whether the rows are read from their ends too.
        dropout: Share of features dropped between layers.
    """

    def __init__(
        self,
        cell: type[nn.LSTM] | type[nn.GRU],
        width: int,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        directions = 2 if bidirectional else 1
        widths = [width] + [hidden * directions] * (layers - 1)
        self.forward_layers = nn.ModuleList(cell(size, hidden, batch_first=True) for size in widths)
        self.backward_layers = nn.ModuleList(
            cell(size, hidden, batch_first=True) for size in widths if bidirectional
        )
        self.between = nn.Dropout(dropout)
        self.width = hidden * directions

    def read(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return the states `[rows, steps, hidden * directions]`, the real steps coming first."""
        order = reversal(mask)
        with _full_precision(vectors.device.type):
            outputs = vectors.to(self.forward_layers[0].weight_ih_l0.dtype)  # type: ignore[arg-type]
            for number, layer in enumerate(self.forward_layers):
                outputs = self.between(outputs) if number else outputs
                states = [_run(layer, outputs)]
                if self.backward_layers:
                    backward = _run(self.backward_layers[number], gather_rows(outputs, order))
                    states.append(gather_rows(backward, order))
                outputs = torch.cat(states, dim=-1)
        return outputs

    def ends(self, states: Tensor, mask: Tensor) -> Tensor:
        """Read each direction where it has seen the whole row, `[rows, hidden * directions]`."""
        last = last_vector(states, mask)
        if not self.backward_layers:
            return last
        hidden = self.width // 2
        # The backward direction, restored to reading order, ends at the first step.
        return torch.cat([last[:, :hidden], states[:, 0, hidden:]], dim=-1)


_ONNX_GATES = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2)}
"""Rows of torch's weights in ONNX's order: input, output, forget, cell; update, reset, hidden."""


def _run(layer: Any, vectors: Tensor) -> Tensor:
    """Return the states `[rows, steps, hidden]` of one layer.

    To the exporter the operator is named: left to itself it unrolls the layer, and takes the
    number of steps of the example for that of all inputs.
    """
    if not torch.onnx.is_in_onnx_export():
        states: Tensor = layer(vectors)[0]
        return states
    kind = type(layer)
    weights = [
        torch.cat([parameter.chunk(len(_ONNX_GATES[kind]))[row] for row in _ONNX_GATES[kind]])
        for parameter in layer._flat_weights
    ]
    rows, steps, _ = vectors.shape
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if kind is nn.GRU:
        attributes["linear_before_reset"] = 1
    named: Tensor = torch.onnx.ops.symbolic(
        kind.__name__,
        (
            vectors.transpose(0, 1),
            weights[0].unsqueeze(0),
            weights[1].unsqueeze(0),
            torch.cat(weights[2:]).unsqueeze(0),
        ),
        attributes,
        dtype=vectors.dtype,
        shape=(steps, 1, rows, layer.hidden_size),
        version=18,
    )
    return named.squeeze(1).transpose(0, 1)


def reversal(mask: Tensor) -> Tensor:
    """Return int64 `[rows, steps]` that reverses each row and leaves its padding."""
    steps = torch.arange(mask.shape[1], device=mask.device).unsqueeze(0)
    mirrored = mask.to(torch.int64).sum(dim=1, keepdim=True) - 1 - steps
    return torch.where(mirrored >= 0, mirrored, steps)


def gather_rows(vectors: Tensor, order: Tensor) -> Tensor:
    """Return `vectors [rows, steps, width]` in the order int64 `[rows, steps]`."""
    return vectors.gather(1, order.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))


def _full_precision(device: str) -> contextlib.AbstractContextManager[object]:
    # Entered only where it changes something: the exporter then meets no context at all.
    if not torch.is_autocast_enabled(device):
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)
