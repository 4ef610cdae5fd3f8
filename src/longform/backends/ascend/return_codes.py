"""What the return codes of pyACL mean, and what helps.

Names after the headers of the acl runtime; those without a name in the headers were seen in the
field. pyACL returns codes and never raises them.
"""

from __future__ import annotations

from longform.errors import LongformError

OUT_OF_MEMORY = {200000, 300000, 207001}
REPEAT_INITIALIZE = 100002

_NAMES = {
    100000: "INVALID_PARAM",
    100001: "UNINITIALIZE",
    100002: "REPEAT_INITIALIZE",
    100003: "INVALID_FILE",
    100011: "INVALID_MODEL_ID",
    100013: "PARSE_MODEL",
    100014: "READ_MODEL_FAILURE",
    100017: "MODEL_INPUT_NOT_MATCH",
    100018: "MODEL_OUTPUT_NOT_MATCH",
    100019: "MODEL_NOT_DYNAMIC",
    107000: "RT_PARAM_INVALID",
    107002: "RT_CONTEXT_NULL",
    145000: "GE_PARAM_INVALID",
    145006: "GE_INTERNAL",
    200000: "BAD_ALLOC",
    200002: "INVALID_DEVICE",
    300000: "STORAGE_OVER_LIMIT",
    500000: "INTERNAL_ERROR",
    500002: "GE_FAILURE",
    500003: "RT_FAILURE",
    500004: "DRV_FAILURE",
    507018: "RT_AICPU_EXCEPTION",
    507035: "RT_VECTOR_CORE_EXCEPTION",
}
_MEMORY = "Give the model fewer or smaller gears, or take other programs off the card."
_ADVICE = {
    100003: "The .om file must be readable and whole: export the target again.",
    100013: "The .om file must have been made for this chip and by this CANN or an older one.",
    100014: "The .om file must have been made for this chip and by this CANN or an older one.",
    100017: "Export the target again: the compiled model and gears.json do not belong together.",
    100018: "Export the target again: the compiled model and gears.json do not belong together.",
    200000: _MEMORY,
    200002: "See 'npu-smi info' for the cards, and ASCEND_RT_VISIBLE_DEVICES for those to be seen.",
    300000: _MEMORY,
    500004: "See 'npu-smi info': the driver or the card has failed. Restart the worker.",
    507018: "The card has failed at an operator. Restart the worker; the plog under ~/ascend/log "
    "says more.",
    507035: "The card has failed at an operator. Restart the worker; the plog under ~/ascend/log "
    "says more.",
}


class AscendError(LongformError):
    """A call of pyACL failed.

    Args:
        call: Name of the call.
        code: What it returned.
        message: What the runtime says of it, if it says anything.

    Attributes:
        code: What it returned.
    """

    def __init__(self, call: str, code: int, message: str = "") -> None:
        self.code = code
        name = _NAMES.get(code, "not in the list of known codes")
        more = f": {' '.join(message.split())[:300]}" if message.strip() else ""
        super().__init__(
            f"The Ascend runtime must carry out {call}.",
            found=f"return code {code} ({name}){more}",
            fix=_ADVICE.get(code, "The plog under ~/ascend/log may say more."),
        )
