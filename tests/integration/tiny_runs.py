"""Small runs of the command line: a corpus that is learnt in seconds, an encoder, a caller."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longform.cli import main
from longform.config import RunConfig, parse_assignments
from longform.types import Document

DECIDING = {
    "劳动": "用人单位应当向劳动者支付拖欠的工资和经济补偿金，劳动合同予以解除。",
    "买卖": "买受人应当向出卖人付清货款，标的物的质量符合买卖双方约定的标准。",
    "租赁": "承租人应当腾退房屋并付清租金，出租人退还押金，租赁关系就此终止。",
}
FILLER = (
    "本案于去年三月立案，依法适用简易程序公开开庭审理。",
    "双方当事人到庭参加了诉讼，并向本院提交了证据。",
    "经审查，上述证据来源合法，本院予以采信。",
    "案件受理费由双方各自承担一半。",
    "如不服本判决，可以在十五日内提出上诉。",
    "书记员负责记录，庭审过程已经同步录音录像。",
    "The clerk has read the minutes to both sides, and both have signed them.",
    "以上事实有证人证言和书面材料在卷佐证。",
)

BAG_SETTINGS = (
    "segment_length=32",
    "bag_dimension=16",
    "bag_buckets=1009",
    "vocabulary_size=300",
    "bag_token_dropout=0.1",
    "aggregator_hidden=16",
    "per_device_train_batch_size=8",
    "learning_rate=0.02",
    "num_train_epochs=6",
)


def make_documents(count: int, seed: int) -> list[Document]:
    """Documents of about 400 characters; one sentence of each, anywhere in it, decides."""
    generator = random.Random(seed)
    labels = sorted(DECIDING)
    documents = []
    for index in range(count):
        label = labels[index % len(labels)]
        sentences = generator.choices(FILLER, k=14)
        sentences.insert(generator.randint(0, len(sentences)), DECIDING[label])
        documents.append(Document(f"{seed}-{index}", "".join(sentences), label))
    return documents


def write_csv(path: Path, documents: Sequence[Document]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "text", "label"))
        writer.writerows((item.id, item.text, item.label) for item in documents)
    return path


@dataclass(frozen=True)
class Corpus:
    """Where the parts of the corpus lie, and the documents of the last one."""

    train: Path
    validation: Path
    test: Path
    documents: list[Document]


def write_corpus(folder: Path) -> Corpus:
    test = make_documents(18, seed=3)
    return Corpus(
        write_csv(folder / "train.csv", make_documents(48, seed=1)),
        write_csv(folder / "validation.csv", make_documents(18, seed=2)),
        write_csv(folder / "test.csv", test),
        test,
    )


def write_encoder(folder: Path) -> Path:
    """A BERT of two narrow layers with random weights, and a tokenizer for the corpus."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    characters = sorted(set("".join((*FILLER, *DECIDING.values())).lower()) - {" "})
    pieces = [*special, *characters, *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(
        models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object that `--json` promises on standard output."""
        content = json.loads(self.out)
        assert isinstance(content, dict)
        return content


def run(*arguments: object) -> Result:
    """Call the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> Result:
    """Call the command line, which must end well."""
    result = run(*arguments)
    assert result.status == 0, result.err
    return result


def train(corpus: Corpus, output: Path, *settings: str, options: Sequence[object] = ()) -> Result:
    """Train on the corpus; `settings` are of the form `key=value`."""
    return run(
        "train",
        *("--data", corpus.train, "--validation", corpus.validation, "--output", output, "--json"),
        *options,
        *("--set", *settings),
    )


def train_in_python(
    train: Sequence[Document], validation: Sequence[Document], output: Path, *settings: str
) -> Path:
    """Do what the command line does, on documents that are at hand; return the bundle."""
    from longform.export.bundles import write_bundle
    from longform.export.encoders import EncoderExports
    from longform.training.fit import fit

    config = RunConfig.model_validate(parse_assignments([*BAG_SETTINGS, *settings]))
    work = output.parent / f"{output.name}.training"
    trained = fit(config, train, validation, work / "checkpoints")
    exports = EncoderExports(trained.model, None, work / "exports")
    write_bundle(trained, validation, exports, output)
    return output
