"""Layer pruning: an encoder keeps some of its layers, in their order.

After Sajjad et al., "On the Effect of Dropping Layers of Pre-trained Transformer Models" (2023),
and the student initialisation of Sanh et al., "DistilBERT" (2019). What is left answers otherwise:
train or distil it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from longform.errors import InputError

Placing = Literal["even", "first", "last"]


def place_layers(count: int, kept: int, placing: Placing = "even") -> list[int]:
    """Return which of `count` layers to keep.

    Args:
        count: Layers of the encoder.
        kept: How many to keep.
        placing: `even` spreads them over all, the first and the last among them; `first` and
            `last` take those nearest to the tokens, or to the vector.

    Raises:
        InputError: The encoder has no such number of layers.
    """
    if not 1 <= kept <= count:
        raise InputError(
            "The number of layers to keep must be at least 1 and at most what the encoder has.",
            found=f"{kept} of {count} layers",
            fix=f"Give --layers a number from 1 to {count}.",
        )
    if placing == "first":
        return list(range(kept))
    if placing == "last" or kept == 1:
        return list(range(count - kept, count))
    return [round(row * (count - 1) / (kept - 1)) for row in range(kept)]


def keep_layers(encoder: Any, kept: Sequence[int]) -> int:
    """Keep these layers of an encoder, in place.

    Args:
        encoder: A Hugging Face encoder with its layers in one list.
        kept: Numbers of layers from 0, rising.

    Returns:
        How many parameters are gone.

    Raises:
        InputError: Layers that are not there, repeated or out of order; or the encoder does not
            have its layers in one list.
    """
    layers, owner, name = _layers(encoder)
    count = len(layers)
    if not kept or list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= count:
        raise InputError(
            "Layers to keep are numbers from 0 in rising order, each once.",
            found=f"{', '.join(map(str, kept)) or 'none'}, of an encoder of {count} layers",
            fix=f"Give --layers such as 0,{count // 2},{count - 1}, or how many to keep.",
        )
    before = sum(parameter.numel() for parameter in encoder.parameters())
    setattr(owner, name, nn.ModuleList(layers[number] for number in kept))
    config = encoder.config
    # Some architectures say per layer how it attends, or how many heads it has.
    for field, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == count and "layer" in field:
            setattr(config, field, [value[number] for number in kept])
    config.num_hidden_layers = len(kept)
    return before - sum(parameter.numel() for parameter in encoder.parameters())


def _layers(encoder: Any) -> tuple[nn.ModuleList, nn.Module, str]:
    """Return the list of layers, the module that holds it, and its name there."""
    count = getattr(encoder.config, "num_hidden_layers", None)
    for path, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            parent, _, name = path.rpartition(".")
            return module, encoder.get_submodule(parent), name
    raise InputError(
        "Layers can be pruned of encoders that hold them in one list.",
        found=f"an encoder of the kind '{encoder.config.model_type}', which does not",
        fix="Leave --layers out.",
    )
