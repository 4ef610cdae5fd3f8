"""One Ascend card, as pyACL wants it used: one context, one stream, one thread at a time.

Order of calls after CANN's documentation: init, set_device, create_context, create_stream; at the
end the same backwards. A context belongs to the thread that made it until another one takes it by
`set_context`, so every use of the card begins with that.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from longform.backends.ascend.return_codes import REPEAT_INITIALIZE, AscendError
from longform.errors import MissingExtraError

HUGE_PAGES_FIRST = 0
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
_HBM = 1


def load_acl() -> ModuleType:
    """Import pyACL.

    Raises:
        MissingExtraError: It cannot be imported.
    """
    try:
        return importlib.import_module("acl")
    except ImportError as error:
        raise MissingExtraError(
            "Running on an Ascend NPU needs pyACL, which comes with CANN.",
            found=str(error),
            fix="source /usr/local/Ascend/ascend-toolkit/set_env.sh (newer: .../cann/set_env.sh).",
        ) from error


class Card:
    """A card that is in use. Close it, or use it as a context manager.

    Args:
        number: Among the cards that this process sees.

    Raises:
        MissingExtraError: pyACL is not installed.
        AscendError: The card cannot be used.
    """

    def __init__(self, number: int = 0) -> None:
        self.acl: Any = load_acl()
        self.number = number
        self._undo: list[tuple[str, Callable[[], int]]] = []
        self._lock = threading.RLock()
        self._is_closed = False
        code = self.acl.init()
        # Another library of this process has initialised it, and will end it.
        is_ours = code == 0
        if code not in {0, REPEAT_INITIALIZE}:
            raise AscendError("acl.init", code)
        try:
            if is_ours:
                self._undo.append(("acl.finalize", self.acl.finalize))
            self.check("acl.rt.set_device", self.acl.rt.set_device(number))
            self._undo.append(("acl.rt.reset_device", lambda: self.acl.rt.reset_device(number)))
            context = self.value("acl.rt.create_context", self.acl.rt.create_context(number))
            self._undo.append(
                ("acl.rt.destroy_context", lambda: self.acl.rt.destroy_context(context))
            )
            self._context = context
            stream = self.value("acl.rt.create_stream", self.acl.rt.create_stream())
            self._undo.append(("acl.rt.destroy_stream", lambda: self.acl.rt.destroy_stream(stream)))
            self.stream = stream
        except BaseException:
            self.close()
            raise

    @property
    def soc_name(self) -> str:
        """What chip it is, as the compiler calls it: `Ascend910B2`."""
        return str(self.acl.get_soc_name())

    def check(self, call: str, code: int) -> None:
        """Refuse a return code that is not zero.

        Raises:
            AscendError: It is not.
        """
        if code:
            raise AscendError(call, code, str(self.acl.get_recent_err_msg() or ""))

    def value(self, call: str, returned: tuple[Any, int]) -> Any:
        """Return the value of a call that gives a value and a code.

        Raises:
            AscendError: The code is not zero.
        """
        value, code = returned
        self.check(call, code)
        return value

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let this thread, and no other, use the card."""
        with self._lock:
            self.check("acl.rt.set_context", self.acl.rt.set_context(self._context))
            yield

    def memory(self) -> tuple[int, int]:
        """Return free and total bytes of the card's memory."""
        with self.in_use():
            free, total, code = self.acl.rt.get_mem_info(_HBM)
            self.check("acl.rt.get_mem_info", code)
        return int(free), int(total)

    def synchronize(self) -> None:
        """Wait for what was put on the stream; other Python threads run meanwhile."""
        code = self.acl.rt.synchronize_stream(self.stream)
        self.check("acl.rt.synchronize_stream", code)

    def close(self) -> None:
        """Give the card back: everything that was made, the last first. Twice is fine."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if hasattr(self, "_context"):
                self.acl.rt.set_context(self._context)
            while self._undo:
                # A failed end must not keep the others from ending.
                _, undo = self._undo.pop()
                undo()

    def __enter__(self) -> Card:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
