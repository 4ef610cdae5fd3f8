"""A bundle as a teacher: its answers to documents, kept on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from safetensors import safe_open

from longform.bundle import Bundle, load_bundle
from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.decision.rule import DecisionRule
from longform.errors import LongformError
from longform.inference.predictor import Predictor, load, windows
from longform.reporting import Reporter
from longform.training.checked_rows import sound_rows, with_checksums
from longform.training.rows import RowStore, content_digest, remove_oldest
from longform.training.same_question import require_same_question
from longform.training.vectors import default_cache_folder
from longform.types import Document, Floats

_MOST_CACHED_BYTES = 2 * 2**30
"""Of all teachers together; with document vectors, a million documents of one."""
_MEASURED_DOCUMENTS = 64
_MEASURED_TOGETHER = 8
_MEASURED_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a teacher says of documents.

    Attributes:
        logits: float32 `[docs, classes]`, in the order of the student's labels.
        vectors: float32 `[docs, width]`, the mean of a document's segment vectors; None when they
            were not asked for.
    """

    logits: Floats
    vectors: Floats | None = None


class Teacher:
    """A verified bundle that is opened when it has something to score. Use it in a `with` block.

    It reads documents with its own segmenter, on the fastest backend. Answers are kept under the
    bundle's digest and a hash of the text; each carries a checksum, and one that does not match is
    asked for again.

    Args:
        folder: Of the bundle.
        backend: As for `open_backend`.
        with_vectors: Also give each document's vector.

    Raises:
        BundleError: The bundle is damaged, altered or too new.
        InputError: The folder is no bundle.
    """

    def __init__(self, folder: Path, backend: str = "auto", *, with_vectors: bool = False) -> None:
        self.bundle = load_bundle(folder)
        self.name = folder.name
        self.with_vectors = with_vectors
        self._backend = backend
        self._predictor: Predictor | None = None

    def __enter__(self) -> Teacher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None

    @property
    def digest(self) -> str:
        """SHA-256 that stands for the bundle."""
        return self.bundle.digest

    @property
    def parameters(self) -> int:
        """Number of its weights."""
        return count_parameters(self.bundle)

    @property
    def rule(self) -> DecisionRule:
        """How the teacher decides; its labels are in the order of the bundle."""
        return DecisionRule.from_description(self.bundle.description)

    def check(self, labels: LabelMap, config: RunConfig) -> None:
        """Make sure that a student with these labels answers the same question.

        Raises:
            InputError: It does not; see `require_same_question`.
        """
        require_same_question(self.name, self.bundle.description, labels, config)

    def answers(
        self, documents: Sequence[Document], labels: LabelMap, reporter: Reporter
    ) -> Answers:
        """Score documents, those that were scored before from the disk.

        Args:
            documents: Any, with or without labels.
            labels: Of the student, which `check` accepted: the order of the logits.
            reporter: Told how far the scoring is.

        Raises:
            InputError: A document has no token that the teacher can read.
            LongformError: A logit of the teacher is not finite.
        """
        names = self.bundle.description.labels
        width = len(names)
        kind = "logits"
        if self.with_vectors:
            width += self._open(reporter).backend_info.vector_size
            kind = "logits and vectors"
        folder = default_cache_folder("teachers")
        remove_oldest(folder, _MOST_CACHED_BYTES)
        digests = [_digest(document) for document in documents]
        with RowStore(folder, [self.digest, kind], width + 1) as store:
            known = sound_rows(store, digests)
            missing = {
                digest: document
                for digest, document in zip(digests, documents, strict=True)
                if digest not in known
            }
            if missing:
                self._score_missing(missing, store, reporter)
            rows = np.array(store.mapped()[store.numbers(digests)])
        reporter.say(
            f"Teacher {self.name}: {len(missing):,} documents scored now, "
            f"{len(set(digests)) - len(missing):,} found in the cache."
        )
        order = [names.index(name) for name in labels.names]
        vectors = rows[:, len(names) : -1] if self.with_vectors else None
        return Answers(rows[:, order], vectors)

    def _score_missing(
        self, missing: dict[bytes, Document], store: RowStore, reporter: Reporter
    ) -> None:
        predictor = self._open(reporter)
        digests = iter(missing)
        with reporter.track("Teacher reads", len(missing)) as advance:
            for group, rows in self._rows(predictor, list(missing.values())):
                _require_finite(rows, group, self.name)
                store.append([next(digests) for _ in group], with_checksums(rows))
                advance(len(group))

    def speed(self, documents: Sequence[Document], reporter: Reporter) -> float:
        """Return how many documents a second the teacher answers; see `measure_speed`."""
        return measure_speed(self._open(reporter), documents)

    def _rows(
        self, predictor: Predictor, documents: list[Document]
    ) -> Iterator[tuple[list[Document], Floats]]:
        if not self.with_vectors:
            for group, scores in predictor.iterate_scores(documents):
                yield group, scores.logits
            return
        scorer = predictor.scorer
        for group in windows(documents):
            readings = scorer.read(group)
            vectors = [reading.vectors for reading in readings]
            logits = scorer.score_readings(
                vectors, [reading.document.positions for reading in readings]
            )
            means = np.stack([rows.mean(axis=0) for rows in vectors])
            yield group, np.concatenate([logits, means], axis=1)

    def _open(self, reporter: Reporter) -> Predictor:
        if self._predictor is None:
            self._predictor = load(self.bundle, self._backend, reporter)
            reporter.say(
                f"Teacher {self.name} verified, running on {self._predictor.backend_info}."
            )
        return self._predictor


def measure_speed(predictor: Predictor, documents: Sequence[Document]) -> float:
    """Return documents a second, from text to logits, over some seconds at most.

    Args:
        predictor: Warmed up here.
        documents: Drawn from evenly.
    """
    predictor.warm_up()
    step = max(1, len(documents) // _MEASURED_DOCUMENTS)
    chosen = documents[::step][:_MEASURED_DOCUMENTS]
    count = 0
    started = time.perf_counter()
    for begin in range(0, len(chosen), _MEASURED_TOGETHER):
        group = chosen[begin : begin + _MEASURED_TOGETHER]
        predictor.scorer.score(group)
        count += len(group)
        if time.perf_counter() - started > _MEASURED_SECONDS:
            break
    return count / (time.perf_counter() - started)


def count_parameters(bundle: Bundle) -> int:
    """Return the number of weights of a bundle, without loading them.

    Buffers of the head, which are not learnt, are left out.
    """
    count = 0
    with safe_open(bundle.path("model.safetensors"), framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no mapping
            if not name.endswith((".vector_mean", ".vector_scale")):
                count += int(np.prod(tensors.get_slice(name).get_shape()))
    return count


def _digest(document: Document) -> bytes:
    texts = repr((document.text, document.text_pair))
    # A text of a JSON file may hold half of a surrogate pair.
    return content_digest(texts.encode("utf-8", "surrogatepass"))


def _require_finite(rows: Floats, documents: Sequence[Document], name: str) -> None:
    broken = ~np.isfinite(rows).all(axis=1)
    if broken.any():
        document = documents[int(broken.argmax())]
        raise LongformError(
            "The answers of a teacher must be finite numbers.",
            found=f"NaN or infinity from {name} for the document {document.id}",
            fix="Try another --backend, or another teacher.",
        )
