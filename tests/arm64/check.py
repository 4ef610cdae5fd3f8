"""Runs on arm64, emulated or real: segmenter, runtime and golden answers of bundles made on x86."""

import json
import platform
import sys
from pathlib import Path

import numpy
import onnxruntime
import tokenizers

from longform import load

TOLERANCE = 1e-4

folder = Path(sys.argv[1])
content = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
sys.stdout.write(
    f"{platform.machine()}, Python {platform.python_version()}, numpy {numpy.__version__}, "
    f"onnxruntime {onnxruntime.__version__}, tokenizers {tokenizers.__version__}\n"
)
assert platform.machine() == "aarch64", platform.machine()
for name, expected in content["expected"].items():
    with load(folder / name, "onnx:fp32") as predictor:
        golden = predictor.check_golden()
        worst = 0.0
        for text, scores in zip(content["texts"], expected, strict=True):
            (answer,) = predictor.predict([text], evidence=True)
            assert not answer.coverage.truncated
            worst = max(worst, *(abs(entry.score - scores[entry.label]) for entry in answer.scores))
    sys.stdout.write(f"{name}: golden logits within {golden:.2e}, scores within {worst:.2e}\n")
    assert golden <= TOLERANCE, golden
    assert worst <= TOLERANCE, worst
sys.stdout.write("arm64: all answers are those of x86\n")
