from __future__ import annotations

import re
from collections import Counter

import pytest

from longform.data.readers import read_documents
from longform.data.samples import (
    _load_grammar,
    _write_numeral,
    generate_documents,
    sample_labels,
    write_corpus,
)
from longform.errors import InputError


@pytest.fixture(scope="module", params=["zh", "en"])
def language(request):
    return request.param


@pytest.fixture(scope="module")
def documents(language):
    return generate_documents(240, language=language)


def find_deciding(language, document):
    """Return where the deciding passage starts: the lead-in of one kind occurs only there."""
    grammar = _load_grammar(language)
    for kind in grammar.kinds:
        for template in kind.lead:
            pattern = re.escape(template).replace(r"\[", "(?:").replace(r"\]", ")")
            pattern = re.sub(r"\\\{[^}]*\\\}", ".+?", pattern.replace(r"\|", "|"))
            match = re.search(pattern, document.text)
            if match:
                return match.start()
    raise AssertionError(document.text)


def test_lengths_labels_and_finished_templates(documents, language):
    labels = sample_labels(language)
    assert 4 <= len(labels) <= 6
    assert set(Counter(d.label for d in documents).values()) == {240 // len(labels)}
    assert all(1500 <= len(d.text) <= 8000 for d in documents)
    assert max(len(d.text) for d in documents) > 6500
    assert not any(set("[]{}|") & set(d.text) for d in documents)
    assert len({d.text for d in documents}) == len({d.id for d in documents}) == 240


def test_deciding_passage_stands_anywhere(documents, language):
    places = [find_deciding(language, d) / len(d.text) for d in documents]
    for quarter in range(4):
        share = sum(quarter / 4 <= place < (quarter + 1) / 4 for place in places) / len(places)
        assert 0.15 < share < 0.35


def test_most_deciding_passages_stand_after_the_first_512_characters(documents, language):
    late = sum(find_deciding(language, d) > 512 for d in documents)
    assert late > 0.75 * len(documents)


def test_headers_do_not_name_the_class(documents, language):
    labels = sample_labels(language)
    heads = [d.text[:60] for d in documents]
    assert not any(label in head.split("\n")[0] for head in heads for label in labels)


def test_other_labels_are_mentioned(documents, language):
    """What tells the class apart cannot be that its name occurs."""
    labels = sample_labels(language)
    stems = {label: label[:5].lower() if language == "en" else label for label in labels}
    named = [
        sum(stems[label] in d.text.lower() for label in labels if label != d.label)
        for d in documents
    ]
    assert sum(named) / len(named) > 1.5


def test_documents_of_different_seeds_share_little(language):
    one, other = (generate_documents(1, seed=seed, language=language)[0] for seed in (1, 2))
    shingles = [{d.text[n : n + 30] for n in range(len(d.text) - 30)} for d in (one, other)]
    assert len(shingles[0] & shingles[1]) < 0.2 * min(map(len, shingles))


def test_same_seed_same_documents_and_a_larger_count_only_adds(documents, language):
    assert generate_documents(20, language=language) == documents[:20]
    assert generate_documents(5, seed=7, language=language) != documents[:5]


def test_whole_documents_can_be_classified_and_heads_cannot():
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    corpus = generate_documents(420, maximum_characters=3500)

    def measure(characters: int) -> float:
        texts = [d.text[:characters] for d in corpus]
        labels = [d.label for d in corpus]
        counts = HashingVectorizer(
            analyzer="char", ngram_range=(2, 2), alternate_sign=False, norm=None
        )
        model = make_pipeline(counts, TfidfTransformer(sublinear_tf=True), LinearSVC())
        return float(model.fit(texts[:360], labels[:360]).score(texts[360:], labels[360:]))

    assert measure(10_000) > 0.85
    assert measure(512) < 0.55


def test_corpus_is_written_and_read_back(tmp_path, language):
    paths = write_corpus(tmp_path / "new", train=12, validation=6, test=6, language=language)
    parts = [read_documents(path).documents for path in (paths.train, paths.validation, paths.test)]
    assert [len(part) for part in parts] == [12, 6, 6]
    written = {d for part in parts for d in part}
    assert written == set(generate_documents(24, language=language))
    assert paths.train.name == "train.csv"


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="writable"):
        write_corpus(tmp_path / "file", train=1, validation=1, test=1)


@pytest.mark.parametrize(
    "options",
    [
        {"minimum_characters": 10},
        {"minimum_characters": 2000, "maximum_characters": 2100},
        {"language": "fr"},
    ],
)
def test_unusable_options(options):
    with pytest.raises(InputError):
        generate_documents(1, **options)


def test_chinese_numerals():
    assert [_write_numeral(n) for n in (1, 10, 11, 20, 23, 99, 100)] == [
        *("一", "十", "十一", "二十", "二十三", "九十九", "100")
    ]
