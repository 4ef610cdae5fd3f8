"""`static`: vectors of tokens read alone, their components and weights, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pretrained_encoders import LABELS, write_encoder
from tiny_tokenizers import CORPUS
from transformers import AutoModel

from longform.backends.torch import TorchBackend
from longform.config import RunConfig, load_config
from longform.errors import ConfigError, InputError
from longform.models import LongTextClassifier, LongTextConfig, load_classifier
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.training import static_vectors
from longform.training.arguments import RECIPES, kind_of_training
from longform.training.devices import Device
from longform.training.initialization import initialize, weights_digest
from longform.training.static_vectors import (
    open_source,
    principal_components,
    rarity_weights,
    settle_static,
    token_vectors,
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """Keep the user's cache out, and compute in fp32 whatever the machine is fast with."""
    monkeypatch.setenv("LONGFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(static_vectors, "pick_device", lambda *_: Device("cpu", False, "a test"))


def configure(folder, **changes) -> RunConfig:
    values = {"static_dimension": 6, "segment_length": 16}
    return RunConfig(encoder="static", static_from=str(folder), **(values | changes))


def build(**changes) -> LongTextClassifier:
    """A model of 50 tokens whose every vector and weight is another."""
    torch.manual_seed(0)
    values = {"vocabulary_size": 50, "static_dimension": 6, "aggregator_hidden": 5}
    model = LongTextClassifier(LongTextConfig(encoder="static", **(values | changes))).eval()
    torch.nn.init.normal_(model.encoder.tokens.weight)
    model.encoder.token_weights.copy_(torch.linspace(0.0, 1.0, 50))
    return model


def read_by_hand(model: LongTextClassifier, rows: list[list[int]]) -> np.ndarray:
    """What the encoder stands for, token by token in float64."""
    table = model.encoder.tokens.weight.detach().numpy().astype(np.float64)
    weights = model.encoder.token_weights.numpy().astype(np.float64)
    vectors = []
    for row in rows:
        total = sum((weights[token] * table[token] for token in row), np.zeros(table.shape[1]))
        weight = sum(weights[token] for token in row)
        vectors.append(total / weight if weight else total)
    return np.stack(vectors)


def padded(rows: list[list[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(1, *(len(row) for row in rows))
    ids = torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


ROWS = st.lists(st.lists(st.integers(0, 49), max_size=9), min_size=2, max_size=5)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, fill=st.integers(0, 49))
def test_a_segment_is_the_weighted_mean_of_its_tokens_and_of_nothing_else(rows, fill):
    model = build()
    with torch.inference_mode():
        found = model.encode(*padded(rows, fill)).numpy()
    assert np.abs(found - read_by_hand(model, rows)).max() <= 1e-5


def test_a_segment_of_special_tokens_alone_is_zero_and_not_nan():
    model = build()
    with torch.inference_mode():
        found = model.encode(torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4))
    assert torch.equal(found, torch.zeros(1, 6))


def test_dropped_tokens_leave_the_mean_where_it_was_and_every_token_learns():
    model = build(static_token_dropout=0.5).train()
    ids = torch.arange(1, 50).unsqueeze(0)
    torch.manual_seed(1)
    drawn = torch.stack([model.encode(ids, torch.ones_like(ids))[0] for _ in range(400)])
    error = drawn.std(dim=0) / 400**0.5
    expected = torch.from_numpy(read_by_hand(model, ids.tolist())[0]).float()
    assert drawn.std(dim=0).min() > 0.01
    assert ((drawn.mean(dim=0) - expected).abs() < 4 * error).all()
    drawn.sum().backward()
    gradient = model.encoder.tokens.weight.grad.abs().sum(dim=1)
    assert (gradient[1:] > 0).all()
    assert gradient[0] == 0


def test_components_are_those_of_a_singular_value_decomposition_in_one_scale():
    generator = np.random.default_rng(0)
    vectors = (generator.normal(size=(60, 8)) @ generator.normal(size=(8, 8)) + 5).astype(
        np.float32
    )
    found = principal_components(vectors, 3)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :3] * sizes[:3]
    expected /= np.sqrt((expected**2).mean())
    assert np.abs(np.abs(found) - np.abs(expected)).max() <= 1e-4
    assert (found**2).mean() == pytest.approx(1.0, rel=1e-4)
    # All components keep all distances, and so do vectors that stand elsewhere.
    whole = principal_components(vectors, 8)
    distances = np.linalg.norm(whole[:, None] - whole[None], axis=2)
    before = np.linalg.norm(centred[:, None] - centred[None], axis=2)
    ratios = distances[np.triu_indices(60, 1)] / before[np.triu_indices(60, 1)]
    assert ratios.max() / ratios.min() <= 1.0001
    assert np.array_equal(principal_components(vectors, 3), found)
    assert np.isfinite(principal_components(np.ones((4, 3), np.float32), 2)).all()


def test_a_token_counts_half_at_a_thousandth_of_all_tokens_and_special_ones_never():
    counts = np.array([500, 1, 0, 999])
    weights = rarity_weights(counts, [0])
    assert weights == pytest.approx([0.0, 0.5, 1.0, 0.001 / 1.0 / (0.001 + 0.999)], rel=1e-5)
    assert rarity_weights(np.zeros(3, np.int64), [1]).tolist() == [1.0, 0.0, 1.0]
    assert counts[0] == 500


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_each_token_is_read_alone_in_the_frame_and_pooled_as_the_encoder_is(kind, tmp_path):
    folder = write_encoder(tmp_path / "encoder", kind)
    config = configure(folder, segment_prefix="query: ")
    source = open_source(config, Reporter())
    vectors = token_vectors(source, config, weights_digest(source.model), Reporter())
    assert vectors.shape == (300, 16)
    encoder = AutoModel.from_pretrained(folder).eval()
    before, after = source.tokenizer.frame("query: ")
    assert before
    for token in (7, 42, 99):
        ids = torch.tensor([[*before, token, *after]])
        with torch.inference_mode():
            hidden = encoder(input_ids=ids).last_hidden_state[0]
        # What a decoder's last token has seen is the frame and the token.
        expected = hidden[-1] if kind == "gpt2" else hidden.mean(dim=0)
        assert np.abs(vectors[token] - expected.numpy()).max() <= 1e-5


def test_what_was_read_once_is_found_and_other_weights_or_frames_are_not(tmp_path, monkeypatch):
    folder = write_encoder(tmp_path / "encoder", "bert")
    config = configure(folder)
    source = open_source(config, Reporter())
    first = token_vectors(source, config, weights_digest(source.model), Reporter())
    read: list[int] = []
    encode = TorchBackend.encode

    def counting(self, batch):
        read.append(len(batch.input_ids))
        return encode(self, batch)

    monkeypatch.setattr(TorchBackend, "encode", counting)
    # Another width of the table is other components of the same vectors.
    again = token_vectors(
        source, configure(folder, static_dimension=3), weights_digest(source.model), Reporter()
    )
    assert np.array_equal(first, again)
    assert not read
    framed = configure(folder, segment_prefix="the")
    token_vectors(source, framed, weights_digest(source.model), Reporter())
    assert sum(read) == 300
    with torch.no_grad():
        next(source.model.parameters()).add_(0.5)
    token_vectors(source, config, weights_digest(source.model), Reporter())
    assert sum(read) == 600


def settled(folder) -> tuple[LongTextClassifier, Segmenter]:
    config = configure(folder)
    model, tokenizer = initialize(config, LABELS, iter(CORPUS))
    segmenter = Segmenter(tokenizer, config.segment_settings())
    settle_static(model, segmenter.segment_batch(CORPUS), tokenizer)
    return model.eval(), segmenter


def test_a_model_starts_centred_on_its_documents_and_blind_to_special_tokens(tmp_path):
    model, segmenter = settled(write_encoder(tmp_path / "encoder", "bert"))
    documents = segmenter.segment_batch(CORPUS)
    segments = [
        segment.token_ids.tolist() for document in documents for segment in document.segments
    ]
    assert all(row[0] == 2 and row[-1] == 3 for row in segments)
    weights = model.encoder.token_weights.numpy()
    assert weights[[0, 2, 3]].tolist() == [0.0, 0.0, 0.0]
    text = [token for row in segments for token in row if token not in (2, 3)]
    commonest = max(set(text), key=text.count)
    share = text.count(commonest) / len(text)
    assert weights[commonest] == pytest.approx(0.001 / (0.001 + share), rel=1e-5)
    with torch.inference_mode():
        vectors = model.encode(*padded(segments, 0))
        standard = (vectors - model.head.vector_mean) * model.head.vector_scale
    assert standard.mean(dim=0).abs().max() < 1e-5
    assert (standard.std(dim=0) - 1).abs().max() < 1e-4


def test_table_and_weights_are_saved_and_loaded(tmp_path):
    model, _ = settled(write_encoder(tmp_path / "encoder", "bert"))
    model.save_pretrained(tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved").eval()
    ids = torch.randint(0, 300, (3, 9))
    with torch.inference_mode():
        assert torch.equal(loaded.encode(ids, torch.ones_like(ids)), model.encode(ids, ids * 0 + 1))


def test_a_segment_may_be_longer_than_the_encoder_could_read(tmp_path):
    folder = write_encoder(tmp_path / "encoder", "bert")
    assert open_source(configure(folder, segment_length=512), Reporter()).model is not None


def test_frozen_or_not_it_has_rates_of_its_kind(tmp_path):
    assert kind_of_training(configure(tmp_path)) == "static"
    assert kind_of_training(configure(tmp_path, frozen=True)) == "frozen"
    assert "static" in RECIPES


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoder": "static"}, "needs static_from"),
        ({"encoder": "bag", "static_from": "models/e5"}, "static_from belongs to encoder 'static'"),
        ({"encoder": "static", "static_from": "x", "lora": True}, "lora needs a pretrained"),
        ({"encoder": "static", "static_from": "x", "static_dimension": 0}, "static_dimension"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        load_config(None, settings)


def test_a_source_that_cannot_serve_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder at"):
        open_source(configure(tmp_path / "nowhere"), Reporter())
    folder = write_encoder(tmp_path / "encoder", "bert")
    with pytest.raises(ConfigError, match="static_dimension 17, and an encoder of width 16"):
        open_source(configure(folder, static_dimension=17), Reporter())
    with pytest.raises(ConfigError, match="its convolutions read padding"):
        open_source(configure(write_encoder(tmp_path / "other", "convbert")), Reporter())
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "source.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        open_source(configure(folder), Reporter())
