"""A stand-in for pyACL that keeps its rules; put on the path in tests only.

Names, argument counts, return values and the order of calls are those of CANN's documentation. It
computes with ONNX Runtime on the CPU: it proves the protocol and the logic, never the numerics or
the speed of a device. An "OM" is the zip that the stand-in for `atc` writes: `meta.json` and
`model.onnx`. Environment variables steer it:

FAKE_ACL_SOC       name of the chip, Ascend910B2
FAKE_ACL_CARDS     number of cards, 2
FAKE_ACL_MEMORY    bytes that a card has
FAKE_ACL_FAULT     `name:n:code`: the n-th call of a name returns the code
FAKE_ACL_SECONDS   time that an execution takes, spent without releasing the GIL
FAKE_ACL_REPORT    folder where a process says at its end what it did not give back
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import json
import os
import threading
import types
import zipfile
from pathlib import Path

import numpy as np

SUCCESS, INVALID_PARAM, UNINITIALIZE, REPEAT_INITIALIZE = 0, 100000, 100001, 100002
INVALID_FILE, INVALID_MODEL_ID, PARSE_MODEL = 100003, 100011, 100013
INPUT_NOT_MATCH, OUTPUT_NOT_MATCH, NOT_DYNAMIC = 100017, 100018, 100019
BAD_ALLOC, INVALID_DEVICE, CONTEXT_NULL, GE_FAILURE = 200000, 200002, 107002, 500002

_GEAR_INPUT = "ascend_mbatch_shape_data"
_NUMBERS = {"float": 0, "int32": 3, "int64": 9}
_TYPES = {0: np.float32, 3: np.int32, 9: np.int64}

_handles = itertools.count(1_000)
_objects: dict[int, tuple[str, object]] = {}
_memory: dict[int, tuple[ctypes.Array, int]] = {}
_here = threading.local()
_calls: dict[str, int] = {}
_state = {"initialised": False, "message": ""}
_devices: set[int] = set()
_usage: dict[int, int] = {}
_lock = threading.RLock()
history: list[str] = []
"""Names of the calls, in order."""


class _Model:
    def __init__(self, meta, session, context):
        self.meta, self.session, self.context = meta, session, context
        self.gears = [tuple(gear) for gear in meta["gears"]]
        self.gear = max(self.gears, key=lambda gear: gear[0] * gear[1])
        self.output_dims = None
        self.running = threading.Lock()


def _called(name):
    with _lock:
        _calls[name] = _calls.get(name, 0) + 1
        history.append(name)
        fault = os.environ.get("FAKE_ACL_FAULT", "")
        for part in filter(None, fault.split(",")):
            wanted, number, code = part.split(":")
            if wanted == name and (number == "*" or int(number) == _calls[name]):
                _state["message"] = f"injected fault at {name}"
                return int(code)
    return 0


def _make(kind, value):
    handle = next(_handles)
    _objects[handle] = (kind, value)
    return handle


def _find(handle, kind):
    found = _objects.get(handle)
    return found[1] if found is not None and found[0] == kind else None


def _drop(handle, kind):
    if _find(handle, kind) is None:
        return INVALID_PARAM
    del _objects[handle]
    return SUCCESS


def _context():
    """The context of this thread, if it has one that still is."""
    handle = getattr(_here, "context", None)
    return None if handle is None else _find(handle, "context")


def init(*config):
    if fault := _called("acl.init"):
        return fault
    if _state["initialised"]:
        return REPEAT_INITIALIZE
    _state["initialised"] = True
    return SUCCESS


def finalize():
    if fault := _called("acl.finalize"):
        return fault
    if not _state["initialised"]:
        return UNINITIALIZE
    _state["initialised"] = False
    return SUCCESS


def get_soc_name():
    return os.environ.get("FAKE_ACL_SOC", "Ascend910B2")


def get_version():
    return (1, 0, 0, SUCCESS)


def get_recent_err_msg():
    message, _state["message"] = _state["message"], ""
    return message


def _set_device(number):
    if fault := _called("acl.rt.set_device"):
        return fault
    if not _state["initialised"]:
        return UNINITIALIZE
    if not 0 <= number < int(os.environ.get("FAKE_ACL_CARDS", "2")):
        return INVALID_DEVICE
    _devices.add(number)
    return SUCCESS


def _reset_device(number):
    if fault := _called("acl.rt.reset_device"):
        return fault
    if number not in _devices:
        return INVALID_DEVICE
    _devices.discard(number)
    return SUCCESS


def _create_context(number):
    if fault := _called("acl.rt.create_context"):
        return 0, fault
    if number not in _devices:
        return 0, INVALID_DEVICE
    handle = _make("context", number)
    _here.context = handle
    return handle, SUCCESS


def _set_context(handle):
    if fault := _called("acl.rt.set_context"):
        return fault
    if _find(handle, "context") is None:
        return CONTEXT_NULL
    _here.context = handle
    return SUCCESS


def _get_context():
    handle = getattr(_here, "context", None)
    return (handle, SUCCESS) if _context() is not None else (0, CONTEXT_NULL)


def _destroy_context(handle):
    if fault := _called("acl.rt.destroy_context"):
        return fault
    return _drop(handle, "context")


def _create_stream():
    if fault := _called("acl.rt.create_stream"):
        return 0, fault
    if _context() is None:
        return 0, CONTEXT_NULL
    return _make("stream", []), SUCCESS


def _destroy_stream(handle):
    if fault := _called("acl.rt.destroy_stream"):
        return fault
    if _context() is None:
        return CONTEXT_NULL
    if _find(handle, "stream"):
        return INVALID_PARAM
    return _drop(handle, "stream")


def _synchronize_stream(handle):
    """Do what was put on the stream. The real one releases the GIL; so does ONNX Runtime."""
    if fault := _called("acl.rt.synchronize_stream"):
        return fault
    work = _find(handle, "stream")
    if work is None or _context() is None:
        return CONTEXT_NULL if _context() is None else INVALID_PARAM
    while work:
        if code := work.pop(0)():
            work.clear()
            return code
    return SUCCESS


def _malloc(size, policy):
    if fault := _called("acl.rt.malloc"):
        return 0, fault
    device = _context()
    if device is None:
        return 0, CONTEXT_NULL
    total = int(os.environ.get("FAKE_ACL_MEMORY", str(64 * 2**30)))
    if size <= 0 or policy not in {0, 1, 2}:
        return 0, INVALID_PARAM
    if _usage.get(device, 0) + size > total:
        return 0, BAD_ALLOC
    array = (ctypes.c_char * size)()
    address = ctypes.addressof(array)
    _memory[address] = (array, device)
    _usage[device] = _usage.get(device, 0) + size
    return address, SUCCESS


def _free(pointer):
    if fault := _called("acl.rt.free"):
        return fault
    if pointer not in _memory:
        return INVALID_PARAM
    if _context() is None:
        return CONTEXT_NULL
    array, device = _memory.pop(pointer)
    _usage[device] -= len(array)
    return SUCCESS


def _room(pointer):
    """Bytes behind an address of the device; None for one of the host."""
    found = _memory.get(pointer)
    return None if found is None else len(found[0])


def _memcpy(target, target_size, source, count, kind):
    if count > target_size or kind not in {0, 1, 2, 3}:
        return INVALID_PARAM
    on_device = {1: (target, source), 2: (source, target)}.get(kind)
    if on_device is not None:
        device, host = on_device
        room = _room(device)
        if room is None or count > room or _room(host) is not None:
            return INVALID_PARAM
    ctypes.memmove(target, source, count)
    return SUCCESS


def _memcpy_async(target, target_size, source, count, kind, stream):
    if fault := _called("acl.rt.memcpy_async"):
        return fault
    work = _find(stream, "stream")
    if _context() is None:
        return CONTEXT_NULL
    if work is None:
        return INVALID_PARAM
    work.append(lambda: _memcpy(target, target_size, source, count, kind))
    return SUCCESS


def _get_mem_info(kind):
    if fault := _called("acl.rt.get_mem_info"):
        return 0, 0, fault
    device = _context()
    if device is None:
        return 0, 0, CONTEXT_NULL
    total = int(os.environ.get("FAKE_ACL_MEMORY", str(64 * 2**30)))
    return total - _usage.get(device, 0), total, SUCCESS


def _load_from_file(path):
    if fault := _called("acl.mdl.load_from_file"):
        return 0, fault
    if _context() is None:
        return 0, CONTEXT_NULL
    import onnxruntime

    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(archive.read("meta.json"))
            content = archive.read("model.onnx")
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return 0, INVALID_FILE
    if meta["soc_version"] != get_soc_name():
        return 0, PARSE_MODEL
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return _make("model", _Model(meta, session, _here.context)), SUCCESS


def _unload(handle):
    if fault := _called("acl.mdl.unload"):
        return fault
    model = _find(handle, "model")
    if model is None:
        return INVALID_MODEL_ID
    if getattr(_here, "context", None) != model.context:
        return CONTEXT_NULL
    return _drop(handle, "model")


def _create_desc():
    _called("acl.mdl.create_desc")
    return _make("desc", [None])


def _destroy_desc(handle):
    if fault := _called("acl.mdl.destroy_desc"):
        return fault
    return _drop(handle, "desc")


def _get_desc(desc, handle):
    if fault := _called("acl.mdl.get_desc"):
        return fault
    holder, model = _find(desc, "desc"), _find(handle, "model")
    if holder is None or model is None:
        return INVALID_PARAM if holder is None else INVALID_MODEL_ID
    holder[0] = model
    return SUCCESS


def _model_of(desc):
    holder = _find(desc, "desc")
    return None if holder is None else holder[0]


def _input_names(model):
    return [*(one.name for one in model.session.get_inputs()), _GEAR_INPUT]


def _get_num_inputs(desc):
    return len(_input_names(_model_of(desc)))


def _get_num_outputs(desc):
    return len(_model_of(desc).session.get_outputs())


def _get_input_name_by_index(desc, index):
    return _input_names(_model_of(desc))[index]


def _get_output_name_by_index(desc, index):
    return _model_of(desc).session.get_outputs()[index].name


def _get_input_index_by_name(desc, name):
    if fault := _called("acl.mdl.get_input_index_by_name"):
        return 0, fault
    names = _input_names(_model_of(desc))
    return (names.index(name), SUCCESS) if name in names else (0, INVALID_PARAM)


def _largest(model):
    return max(model.gears, key=lambda gear: gear[0] * gear[1])


def _type_of(value):
    return value.type.removeprefix("tensor(").removesuffix(")")


def _get_input_data_type(desc, index):
    model = _model_of(desc)
    if _input_names(model)[index] == _GEAR_INPUT:
        return 9
    return _NUMBERS[_type_of(model.session.get_inputs()[index])]


def _get_output_data_type(desc, index):
    return _NUMBERS[_type_of(_model_of(desc).session.get_outputs()[index])]


def _get_input_size_by_index(desc, index):
    model = _model_of(desc)
    if _input_names(model)[index] == _GEAR_INPUT:
        return 8 * 2 * len(model.session.get_inputs())
    rows, length = _largest(model)
    return rows * length * np.dtype(_TYPES[_get_input_data_type(desc, index)]).itemsize


def _get_output_size_by_index(desc, index):
    model = _model_of(desc)
    most_rows = max(rows for rows, _ in model.gears)
    return most_rows * model.session.get_outputs()[index].shape[-1] * 4


def _get_cur_output_dims(desc, index):
    if fault := _called("acl.mdl.get_cur_output_dims"):
        return {}, fault
    model = _model_of(desc)
    output = model.session.get_outputs()[index]
    dims = [model.gear[0], output.shape[-1]]
    return {"name": output.name, "dimCount": 2, "dims": dims}, SUCCESS


def _get_input_dynamic_gear_count(desc, index):
    return len(_model_of(desc).gears), SUCCESS


def _get_input_dynamic_dims(desc, index, count):
    model = _model_of(desc)
    inputs = len(model.session.get_inputs())
    dims = [list(gear) * inputs for gear in model.gears]
    return [{"name": "", "dimCount": len(one), "dims": one} for one in dims][:count], SUCCESS


def _create_dataset():
    _called("acl.mdl.create_dataset")
    return _make("dataset", [])


def _destroy_dataset(handle):
    if fault := _called("acl.mdl.destroy_dataset"):
        return fault
    return _drop(handle, "dataset")


def create_data_buffer(pointer, size):
    _called("acl.create_data_buffer")
    return _make("buffer", (pointer, size))


def destroy_data_buffer(handle):
    if fault := _called("acl.destroy_data_buffer"):
        return fault
    return _drop(handle, "buffer")


def _add_dataset_buffer(dataset, buffer):
    if fault := _called("acl.mdl.add_dataset_buffer"):
        return dataset, fault
    held = _find(dataset, "dataset")
    if held is None or _find(buffer, "buffer") is None:
        return dataset, INVALID_PARAM
    held.append(buffer)
    return dataset, SUCCESS


def _set_input_dynamic_dims(handle, dataset, index, dims):
    if fault := _called("acl.mdl.set_input_dynamic_dims"):
        return fault
    model, held = _find(handle, "model"), _find(dataset, "dataset")
    if model is None or held is None:
        return INVALID_MODEL_ID if model is None else INVALID_PARAM
    inputs = len(model.session.get_inputs())
    if len(held) != inputs + 1 or index != inputs or dims["dimCount"] != len(dims["dims"]):
        return INVALID_PARAM
    wanted = [tuple(dims["dims"][place : place + 2]) for place in range(0, 2 * inputs, 2)]
    if len(set(wanted)) != 1 or wanted[0] not in model.gears:
        return INVALID_PARAM
    model.gear = wanted[0]
    return SUCCESS


def _execute_async(handle, inputs, outputs, stream):
    if fault := _called("acl.mdl.execute_async"):
        return fault
    model, work = _find(handle, "model"), _find(stream, "stream")
    if model is None:
        return INVALID_MODEL_ID
    if getattr(_here, "context", None) != model.context:
        return CONTEXT_NULL
    if work is None or _find(inputs, "dataset") is None or _find(outputs, "dataset") is None:
        return INVALID_PARAM
    gear = model.gear
    if not model.running.acquire(blocking=False):
        return GE_FAILURE
    work.append(lambda: _compute(model, gear, inputs, outputs))
    return SUCCESS


def _compute(model, gear, inputs, outputs):
    try:
        feeds = {}
        for value, handle in zip(
            model.session.get_inputs(), _find(inputs, "dataset"), strict=False
        ):
            pointer, _ = _find(handle, "buffer")
            if pointer not in _memory:
                return INVALID_PARAM
            kind = np.dtype(_TYPES[_NUMBERS[_type_of(value)]])
            count = gear[0] * gear[1] * kind.itemsize
            content = ctypes.string_at(pointer, count)
            feeds[value.name] = np.frombuffer(content, kind).reshape(gear)
        seconds = float(os.environ.get("FAKE_ACL_SECONDS", "0"))
        # Called by way of PyDLL, a function of C keeps the GIL; a loop here would give it away.
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        (result,) = model.session.run(None, feeds)
        pointer, size = _find(_find(outputs, "dataset")[0], "buffer")
        content = np.ascontiguousarray(result)
        if content.nbytes > size:
            return OUTPUT_NOT_MATCH
        ctypes.memmove(pointer, content.ctypes.data, content.nbytes)
        return SUCCESS
    finally:
        model.running.release()


def left_over():
    """What was made and not given back: empty after a tidy end."""
    kinds = [kind for kind, _ in _objects.values()]
    kinds += ["memory"] * len(_memory) + ["device"] * len(_devices)
    if _state["initialised"]:
        kinds.append("initialisation")
    return kinds


def _report():
    folder = os.environ.get("FAKE_ACL_REPORT")
    if folder:
        report = {"left_over": left_over(), "calls": sum(_calls.values())}
        (Path(folder) / f"{os.getpid()}.json").write_text(json.dumps(report))


atexit.register(_report)


def forget():
    """Begin anew, for the next test."""
    for held in (_objects, _memory, _calls, _devices, _usage, history):
        held.clear()
    _state.update(initialised=False, message="")
    _here.__dict__.clear()


rt = types.SimpleNamespace(
    set_device=_set_device,
    reset_device=_reset_device,
    get_device_count=lambda: (int(os.environ.get("FAKE_ACL_CARDS", "2")), SUCCESS),
    create_context=_create_context,
    set_context=_set_context,
    get_context=_get_context,
    destroy_context=_destroy_context,
    create_stream=_create_stream,
    destroy_stream=_destroy_stream,
    synchronize_stream=_synchronize_stream,
    malloc=_malloc,
    free=_free,
    memcpy_async=_memcpy_async,
    get_mem_info=_get_mem_info,
)
mdl = types.SimpleNamespace(
    load_from_file=_load_from_file,
    unload=_unload,
    create_desc=_create_desc,
    destroy_desc=_destroy_desc,
    get_desc=_get_desc,
    get_num_inputs=_get_num_inputs,
    get_num_outputs=_get_num_outputs,
    get_input_name_by_index=_get_input_name_by_index,
    get_output_name_by_index=_get_output_name_by_index,
    get_input_index_by_name=_get_input_index_by_name,
    get_input_size_by_index=_get_input_size_by_index,
    get_output_size_by_index=_get_output_size_by_index,
    get_input_data_type=_get_input_data_type,
    get_output_data_type=_get_output_data_type,
    get_cur_output_dims=_get_cur_output_dims,
    get_input_dynamic_gear_count=_get_input_dynamic_gear_count,
    get_input_dynamic_dims=_get_input_dynamic_dims,
    create_dataset=_create_dataset,
    destroy_dataset=_destroy_dataset,
    add_dataset_buffer=_add_dataset_buffer,
    set_input_dynamic_dims=_set_input_dynamic_dims,
    execute_async=_execute_async,
)
