"""A compiled model on a card: loaded once, its buffers reused for every batch.

Sequence after CANN's documentation: load_from_file, create_desc, get_desc; one device buffer for
each input and output, of the size of the largest gear; data sets over them; then for each batch
copy in, set the gear, execute, copy out, synchronise. A model with gears has one input more,
`ascend_mbatch_shape_data`, whose buffer the runtime itself fills.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from longform.backends.ascend.card import (
    DEVICE_TO_HOST,
    HOST_TO_DEVICE,
    HUGE_PAGES_FIRST,
    Card,
)
from longform.backends.ascend.gears import Gear
from longform.errors import BundleError
from longform.types import Floats, Integers

_GEAR_INPUT = "ascend_mbatch_shape_data"
_TYPES: dict[int, type[np.generic]] = {
    0: np.float32,
    1: np.float16,
    3: np.int32,
    9: np.int64,
}
"""Numbers of acl's data types -> types of arrays."""


class CompiledModel:
    """An encoder of two inputs and one output.

    Args:
        card: Where it runs.
        path: The `.om` file.

    Raises:
        AscendError: It cannot be loaded, or the card has no room for it.
        BundleError: Its inputs or outputs are not those of an encoder.
    """

    def __init__(self, card: Card, path: Path) -> None:
        self._card = card
        self._acl = card.acl
        self._undo: list[Callable[[], Any]] = []
        self._inputs: dict[str, tuple[int, int, type[np.generic]]] = {}
        with card.in_use():
            try:
                self._load(path)
            except BaseException:
                self._release()
                raise

    def run(self, gear: Gear, input_ids: Integers, attention_mask: Integers) -> Floats:
        """Encode rows that fill a gear.

        Args:
            gear: The shape.
            input_ids: `[gear.rows, gear.length]`.
            attention_mask: The same.

        Returns:
            float32 `[gear.rows, vector size]`.

        Raises:
            AscendError: A call failed.
        """
        with self._card.in_use():
            # Kept until the stream has been waited for: the copies read them.
            kept: list[Any] = []
            try:
                output = self._put_on_stream(gear, (input_ids, attention_mask), kept)
                self._card.synchronize()
            except BaseException:
                # What is on the stream still uses the arrays; its own failure is known already.
                self._acl.rt.synchronize_stream(self._card.stream)
                raise
        return np.asarray(output, dtype=np.float32)

    def _put_on_stream(
        self, gear: Gear, arrays: tuple[Integers, Integers], kept: list[Any]
    ) -> np.ndarray[Any, Any]:
        """Put a batch on the stream and return the array that its result comes into."""
        acl, card = self._acl, self._card
        for name, array in zip(("input_ids", "attention_mask"), arrays, strict=True):
            self._copy_in(name, array, kept)
        self._set_gear(gear)
        code = acl.mdl.execute_async(self._model, self._input_set, self._output_set, card.stream)
        card.check("acl.mdl.execute_async", code)
        current = acl.mdl.get_cur_output_dims(self._description, 0)
        dims = card.value("acl.mdl.get_cur_output_dims", current)["dims"]
        output = np.empty(dims, dtype=self._output_type)
        kept.append(output)
        address, size = output.ctypes.data, output.nbytes
        code = acl.rt.memcpy_async(address, size, self._output, size, DEVICE_TO_HOST, card.stream)
        card.check("acl.rt.memcpy_async", code)
        return output

    def close(self) -> None:
        """Unload the model and free its buffers. Twice is fine."""
        if not self._undo:
            return
        with self._card.in_use():
            self._release()

    def _load(self, path: Path) -> None:
        acl, card = self._acl, self._card
        self._model = card.value("acl.mdl.load_from_file", acl.mdl.load_from_file(str(path)))
        self._undo.append(lambda: acl.mdl.unload(self._model))
        self._description = acl.mdl.create_desc()
        self._undo.append(lambda: acl.mdl.destroy_desc(self._description))
        code = acl.mdl.get_desc(self._description, self._model)
        card.check("acl.mdl.get_desc", code)
        self._input_set = acl.mdl.create_dataset()
        self._undo.append(lambda: acl.mdl.destroy_dataset(self._input_set))
        self._output_set = acl.mdl.create_dataset()
        self._undo.append(lambda: acl.mdl.destroy_dataset(self._output_set))
        self._make_inputs()
        self._make_output()

    def _make_inputs(self) -> None:
        acl, description = self._acl, self._description
        for index in range(acl.mdl.get_num_inputs(description)):
            name = acl.mdl.get_input_name_by_index(description, index)
            size = acl.mdl.get_input_size_by_index(description, index)
            pointer = self._buffer(self._input_set, size)
            if name != _GEAR_INPUT:
                kind = acl.mdl.get_input_data_type(description, index)
                self._inputs[name] = (pointer, size, _numpy_type(name, kind))
        if set(self._inputs) != {"input_ids", "attention_mask"}:
            raise BundleError(
                "A compiled encoder must take input_ids and attention_mask.",
                found=", ".join(sorted(self._inputs)) or "no inputs",
                fix="Export the target again.",
            )

    def _make_output(self) -> None:
        acl, description = self._acl, self._description
        outputs = acl.mdl.get_num_outputs(description)
        if outputs != 1:
            raise BundleError(
                "A compiled encoder must give segment vectors.",
                found=f"{outputs} outputs",
                fix="Export the target again.",
            )
        size = acl.mdl.get_output_size_by_index(description, 0)
        self._output = self._buffer(self._output_set, size)
        kind = acl.mdl.get_output_data_type(description, 0)
        self._output_type = _numpy_type("segment_vector", kind)

    def _buffer(self, data_set: int, size: int) -> int:
        """Allocate device memory, put it into a data set, and return its address."""
        acl, card = self._acl, self._card
        pointer = card.value("acl.rt.malloc", acl.rt.malloc(size, HUGE_PAGES_FIRST))
        self._undo.append(lambda: acl.rt.free(pointer))
        buffer = acl.create_data_buffer(pointer, size)
        self._undo.append(lambda: acl.destroy_data_buffer(buffer))
        _, code = acl.mdl.add_dataset_buffer(data_set, buffer)
        card.check("acl.mdl.add_dataset_buffer", code)
        return int(pointer)

    def _copy_in(self, name: str, values: Integers, kept: list[Any]) -> None:
        pointer, size, kind = self._inputs[name]
        array = np.ascontiguousarray(values, dtype=kind)
        kept.append(array)
        code = self._acl.rt.memcpy_async(
            pointer, size, array.ctypes.data, array.nbytes, HOST_TO_DEVICE, self._card.stream
        )
        self._card.check("acl.rt.memcpy_async", code)

    def _set_gear(self, gear: Gear) -> None:
        acl, card = self._acl, self._card
        index = card.value(
            "acl.mdl.get_input_index_by_name",
            acl.mdl.get_input_index_by_name(self._description, _GEAR_INPUT),
        )
        # All dimensions of all inputs, one after the other.
        dims = [gear.rows, gear.length] * len(self._inputs)
        wanted = {"name": "", "dimCount": len(dims), "dims": dims}
        code = acl.mdl.set_input_dynamic_dims(self._model, self._input_set, index, wanted)
        card.check("acl.mdl.set_input_dynamic_dims", code)

    def _release(self) -> None:
        while self._undo:
            self._undo.pop()()


def _numpy_type(name: str, kind: int) -> type[np.generic]:
    if kind not in _TYPES:
        raise BundleError(
            "A compiled encoder must use types that arrays have.",
            found=f"{name} of acl's type {kind}",
            fix="Export the target again, with FP32 outputs.",
        )
    return _TYPES[kind]
