"""Compiled encoders: which shapes are asked for, and that no new one comes after the warm-up. No
GPU is here: torch's compiler backend `eager` counts what would be compiled, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_tokenizers
import torch
from tiny_encoders import tiny_encoder

from longform.backends.torch import TorchBackend
from longform.backends.torch_compiled import CompiledTorchBackend, require_compiler
from longform.errors import InputError, MissingExtraError
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.pretrained import own_settings
from longform.shapes import Bucket, ShapePlan
from longform.types import SegmentBatch

PLAN = ShapePlan((Bucket(8, 4), Bucket(16, 2)))


@pytest.fixture
def model() -> LongTextClassifier:
    encoder = tiny_encoder(tiny_tokenizers.bag())
    values = own_settings(encoder.config)
    config = LongTextConfig(encoder="bert", encoder_config=values, num_labels=3, segment_length=16)
    built = LongTextClassifier(config)
    built.encoder.model.load_state_dict(encoder.state_dict())
    return built.eval()


def batch(rows: int, width: int) -> SegmentBatch:
    ids = np.random.default_rng(rows).integers(1, 20, (rows, width))
    return SegmentBatch(ids, np.ones_like(ids))


def test_batches_are_padded_to_their_bucket_and_answers_stay(model):
    plain = TorchBackend(model, threads=1)
    compiled = CompiledTorchBackend(model, PLAN, threads=1, compiler="eager")
    seen = []
    encode = compiled._compiled

    def note(ids, mask):
        seen.append(tuple(ids.shape))
        return encode(ids, mask)

    compiled._compiled = note
    for rows, width in ((1, 1), (3, 7), (5, 8), (2, 9), (3, 16)):
        asked = batch(rows, width)
        assert compiled.encode(asked) == pytest.approx(plain.encode(asked), abs=1e-5)
    assert set(seen) == {(4, 8), (2, 16)}
    assert compiled.info.name == "torch-compiled"


def test_nothing_is_compiled_after_the_warm_up(model):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = CompiledTorchBackend(model, PLAN, threads=1, compiler=counter)
    compiled.warm_up(16)
    assert counter.frame_count == len(PLAN.buckets)
    for rows, width in ((1, 1), (4, 8), (9, 5), (1, 12), (2, 16)):
        compiled.encode(batch(rows, width))
    assert counter.frame_count == len(PLAN.buckets)


def test_without_a_compiler_nothing_falls_back_in_silence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingExtraError, match=r"needs a C\+\+ compiler"):
        require_compiler()


def test_fp16_is_for_gpus(model):
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        TorchBackend(model, "fp16")
