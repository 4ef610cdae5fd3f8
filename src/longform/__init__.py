"""Train, export and serve classifiers of long documents on the machine you have.

`import longform` is light: no torch, no transformers. `import longform.models` brings them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longform.facade import TEXT_CLASSIFICATION, HappyTextClassification, HappyTransformer
    from longform.inference.predictor import Predictor, load
    from longform.models.bert_split_lstm import BERTSplitLSTM
    from longform.serving.grpc_facade import HappyGRPCServer
    from longform.training.processing import HappyDataProcessor, encode_texts

__version__ = "0.1.0"
__all__ = [
    "TEXT_CLASSIFICATION",
    "BERTSplitLSTM",
    "HappyDataProcessor",
    "HappyGRPCServer",
    "HappyTextClassification",
    "HappyTransformer",
    "Predictor",
    "__version__",
    "encode_texts",
    "load",
]


def __getattr__(name: str) -> Any:
    # Resolved on first use, so that `longform --help` starts without numpy and the runtimes.
    if name in {"Predictor", "load"}:
        from longform.inference import predictor

        return getattr(predictor, name)
    if name in {"HappyDataProcessor", "encode_texts"}:
        from longform.training import processing

        return getattr(processing, name)
    if name in {"TEXT_CLASSIFICATION", "HappyTextClassification", "HappyTransformer"}:
        from longform import facade

        return getattr(facade, name)
    if name == "BERTSplitLSTM":
        from longform.models import bert_split_lstm

        return getattr(bert_split_lstm, name)
    if name == "HappyGRPCServer":
        from longform.extras import require

        require("grpc", "Serving")
        from longform.serving import grpc_facade

        return getattr(grpc_facade, name)
    raise AttributeError(f"module 'longform' has no attribute '{name}'")
