"""A verified bundle to the scorer that its kind of model wants."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from longform.backends.base import Backend, BackendInfo
from longform.backends.choice import open_backend, shape_plan
from longform.bundle import (
    CERTIFICATE_FILE,
    GOLDEN_FILE,
    TOKENIZER_FILE,
    Bundle,
    stage_bundles,
)
from longform.decision.certificate import Certificate
from longform.decision.rule import DecisionRule
from longform.errors import BundleError
from longform.inference.cache import CacheSettings, SegmentCache
from longform.inference.cascade import CascadeScorer, Stage
from longform.inference.linear import LinearScorer, open_stacked, require_runtime
from longform.inference.neural import NeuralScorer
from longform.inference.scorer import Scorer
from longform.inference.token_split import open_explainers
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.text.tokenization import TextTokenizer

logger = logging.getLogger(__name__)


def open_scorer(
    bundle: Bundle,
    backend: str | Backend = "auto",
    reporter: Reporter | None = None,
    cache: CacheSettings | None = None,
) -> Scorer:
    """Open the model of a bundle; see `longform.inference.predictor.load`.

    Of a cascade, backend and cache are those of the last stage.
    """
    if bundle.description.kind == "cascade":
        return _open_cascade(bundle, backend, reporter, cache)
    if bundle.description.kind == "linear":
        require_runtime(bundle, backend)
        return LinearScorer.open(bundle)
    tokenizer = TextTokenizer.from_file(bundle.path(TOKENIZER_FILE))
    segmenter = Segmenter(tokenizer, bundle.description.knobs.segments)
    opened = backend if isinstance(backend, Backend) else open_backend(bundle, backend, reporter)
    return NeuralScorer(
        segmenter,
        opened,
        pairs=bundle.description.text_pair,
        plan=shape_plan(bundle),
        cache=_open_cache(bundle, opened.info, cache, reporter),
        golden=bundle.path(GOLDEN_FILE),
        linear=open_stacked(bundle),
        explainers=open_explainers(bundle),
    )


def read_certificate(bundle: Bundle) -> tuple[Certificate, list[Bundle]]:
    """Read the certificate of a cascade.

    Returns:
        The certificate, and the verified stages that it was given for.

    Raises:
        BundleError: It is none, or was given for other weights than those of the stages.
    """
    stages = stage_bundles(bundle)
    path = bundle.path(CERTIFICATE_FILE)
    try:
        certificate = Certificate.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(
            f"{path} must hold the certificate of a cascade.",
            found=f"{error.error_count()} faults, the first: {error.errors()[0]['msg']}",
            fix="Make the cascade again with 'longform cascade'.",
        ) from error
    differing = certificate.differing_stage([stage.digest for stage in stages])
    if differing is not None or certificate.steps[-1].stage != len(stages) - 1:
        raise BundleError(
            "A certificate holds for the very models that it was given for.",
            found=f"other weights or settings in stage {differing} of {bundle.folder.name}",
            fix="Certify the changed models anew with 'longform cascade'.",
        )
    return certificate, stages


def _open_cascade(
    bundle: Bundle,
    backend: str | Backend,
    reporter: Reporter | None,
    cache: CacheSettings | None,
) -> CascadeScorer:
    certificate, bundles = read_certificate(bundle)
    stages = []
    for number, stage in enumerate(bundles):
        is_last = number == len(bundles) - 1
        scorer = open_scorer(
            stage,
            backend if is_last else "auto",
            reporter,
            cache if is_last else None,
        )
        stages.append(Stage(scorer, DecisionRule.from_description(stage.description)))
        certified = certificate.stages[number].runtime
        runtime = str(scorer.info)
        if certified and certified != runtime:
            logger.warning(
                "Stage %d (%s) was certified on %s and runs on %s here: labels that are nearly "
                "even may differ between the two.",
                number,
                certificate.stages[number].name,
                certified,
                runtime,
            )
    return CascadeScorer(stages, certificate)


def _open_cache(
    bundle: Bundle, info: BackendInfo, settings: CacheSettings | None, reporter: Reporter | None
) -> SegmentCache | None:
    if settings is None or not settings.most_bytes:
        return None
    description = bundle.description
    pooling = str(description.knobs.model.get("token_pooling"))
    # The prefix is part of the token ids; a vector does not depend on how texts were cut.
    key = [description.encoder_digest, info.name, info.precision, pooling, settings.tenant]
    return SegmentCache(key, settings.most_bytes, settings.folder, reporter=reporter)
