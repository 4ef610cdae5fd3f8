from __future__ import annotations

import pytest
import tiny_tokenizers

torch = pytest.importorskip("torch")

from longform import HappyDataProcessor, encode_texts  # noqa: E402
from longform.errors import InputError  # noqa: E402


@pytest.fixture
def table(tmp_path):
    rows = "".join(
        f"第{n}份文书，内容各不相同，编号是{n * 7919}。,{'甲乙'[n % 2]}\n" for n in range(40)
    )
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + rows, encoding="utf-8")
    return path


def test_s1_12_the_call_of_other_toolkits_gives_train_and_eval(table):
    processor = HappyDataProcessor(
        task="text_classification", max_length=16, padding_strategy="max_length"
    )
    dataset = processor.load_dataset(table)
    assert set(dataset) == {"train", "eval"}
    assert len(dataset["train"]) + len(dataset["eval"]) == 40
    assert processor.labels.names == ("乙", "甲")
    for row, item in enumerate(dataset["train"]):
        segments = len(item["segment_mask"])
        assert item["input_ids"].shape == item["attention_mask"].shape == (segments, 16)
        assert item["labels"].dtype == torch.int64
        assert int(item["row_id"]) == row
        if row + 1 == len(dataset["train"]):
            break


def test_several_labels_are_flags(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f"第{n}份文书编号{n * 7919}。,{'a|b' if n % 2 else 'a'}\n" for n in range(20))
    path.write_text("text,label\n" + rows, encoding="utf-8")
    dataset = HappyDataProcessor(
        padding_strategy="longest", label_separator="|", validation_split=0.2
    ).load_dataset(path)
    item = dataset["eval"][0]
    assert item["labels"].dtype == torch.float32
    assert item["labels"].shape == (2,)
    assert int(item["attention_mask"].sum(dim=1).max()) == item["input_ids"].shape[1]


def test_another_task_is_refused():
    with pytest.raises(InputError, match="text_generation"):
        HappyDataProcessor(task="text_generation")


@pytest.mark.parametrize("length", [0, 1, 13, 14, 15, 100])
def test_s0_19_no_token_of_a_text_is_lost(length):
    tokenizer = tiny_tokenizers.word_pieces()
    text = (tiny_tokenizers.HAN * 10)[:length]
    (encoded,) = encode_texts([text], max_len=16, tokenizer=tokenizer)
    assert encoded["input_ids"].shape[1] == 16
    inner = [
        int(token)
        for row, mask in zip(encoded["input_ids"], encoded["attention_mask"], strict=True)
        for token in row[mask.bool()][1:-1]
    ]
    assert inner == tokenizer.encode([text])[0]
    assert len(encoded["input_ids"]) == -(-length // 14)


def test_a_missing_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="tokenizer"):
        encode_texts(["文"], tokenizer=str(tmp_path / "nothing"))
