from __future__ import annotations

import gzip
import json
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.data.duplicates import find_duplicates, find_leaks, join
from longform.data.sketches import sketch_documents
from longform.errors import MissingExtraError
from longform.types import Document

pytest.importorskip("datasketch")

IDEOGRAPHS = [chr(point) for point in range(0x4E00, 0x5200)]


def write(rng: random.Random, characters: int) -> str:
    return "".join(rng.choices(IDEOGRAPHS, k=characters))


def edit(text: str, rng: random.Random, share: float = 0.05) -> str:
    """Substitute, delete or insert at a share of the characters, white space left alone."""
    places = [place for place, character in enumerate(text) if not character.isspace()]
    chosen = set(rng.sample(places, max(1, round(share * len(places)))))
    letters = [text[place] for place in places]
    edits = {
        "substitute": lambda character: rng.choice(letters),
        "delete": lambda character: "",
        "insert": lambda character: character + rng.choice(letters),
    }
    return "".join(
        edits[rng.choice(sorted(edits))](character) if place in chosen else character
        for place, character in enumerate(text)
    )


def documents_of(*texts: str) -> list[Document]:
    return [Document(f"d{number}", text, "a") for number, text in enumerate(texts)]


def test_r16_copies_edited_in_5_percent_of_their_characters_are_found():
    rng = random.Random(1)
    originals = [write(rng, rng.randint(300, 3000)) for _ in range(200)]
    others = [write(rng, rng.randint(300, 3000)) for _ in range(100)]
    copies = [edit(text, rng) for text in originals]
    leaks = find_leaks(documents_of(*originals), documents_of(*others, *copies))
    found = {(match.first, match.second - len(others)) for match in leaks.matches}
    assert found == {(number, number) for number in range(200)}
    assert all(0.2 < match.similarity < 0.6 and not match.exact for match in leaks.matches)
    duplicates = find_duplicates(documents_of(*originals, *copies))
    assert duplicates.clusters == tuple((number, number + 200) for number in range(200))


def test_similarities_are_those_of_the_shingles():
    rng = random.Random(2)
    shared, mine, yours = write(rng, 111), write(rng, 100), write(rng, 300)
    found = find_duplicates(documents_of(shared, shared + mine, yours)).near
    assert [(match.first, match.second) for match in found] == [(0, 1)]
    assert (found[0].similarity, found[0].containment) == (100 / 200, 1.0)


def test_texts_without_near_copies_give_nothing():
    rng = random.Random(3)
    duplicates = find_duplicates(documents_of(*(write(rng, 500) for _ in range(50))))
    assert (duplicates.exact, duplicates.near, duplicates.clusters) == ((), (), ())
    assert duplicates.cluster_ids.tolist() == list(range(50))


def test_white_space_case_and_width_do_not_hide_a_copy():
    text = "The Court finds that the claim, filed in 1998, is barred"
    wide = "Ｔｈｅ court finds\r\n that the claim, filed in １９９８, is  barred"
    duplicates = find_duplicates(documents_of(text, "another text altogether", wide, text))
    assert duplicates.exact == ((0, 3),)
    assert [(m.first, m.second, m.similarity, m.exact) for m in duplicates.near] == [
        (0, 2, 1.0, False)
    ]
    assert duplicates.clusters == ((0, 2, 3),)


@pytest.mark.parametrize("text", ["", "短", "abcdefghijk", "\n", "👩‍👩‍👧", "\ud800 lone"])
def test_texts_shorter_than_a_shingle_are_compared_as_a_whole(text):
    other = "x" + text + "x"
    duplicates = find_duplicates(documents_of(text, other, text, text + " "))
    assert duplicates.exact == ((0, 2),)
    assert duplicates.clusters == ((0, 2, 3),)
    assert find_leaks(documents_of(text), documents_of(other)).matches == ()


def test_the_second_text_counts():
    first, second = "甲方应当在三十日内支付全部货款。", "合同有效"
    pairs = [
        Document("0", first, "a", text_pair=second),
        Document(
            "1", first, "a", text_pair="另一段完全不同而且长得多的文字，与前者毫无关系，也不会相似"
        ),
        Document("2", first, "a", text_pair=second),
        Document("3", first + second, "a"),
    ]
    assert find_duplicates(pairs).exact == ((0, 2),)
    assert find_duplicates(pairs, near=False).exact == ((0, 2),)
    assert find_leaks(pairs[:1], pairs[3:], near=False).matches == ()


def test_leaks_name_every_document_of_both_sides_and_tell_exact_from_near():
    rng = random.Random(4)
    text, alone = write(rng, 400), write(rng, 400)
    near = edit(text, rng)
    train = documents_of(text, alone, text, near)
    other = documents_of(write(rng, 400), text, text, text + "\n", near)
    leaks = find_leaks(train, other)
    assert leaks.train == (0, 2, 3)
    assert leaks.other == (1, 2, 3, 4)
    for match in leaks.matches:
        assert match.exact == (train[match.first].text == other[match.second].text)
    exact = {match.first for match in leaks.matches if match.exact}
    assert exact == {0, 2, 3}


def test_leaks_without_near_copies():
    train, other = documents_of("same", "Mine alone"), documents_of("same ", "yours", "same")
    leaks = find_leaks(train, other, near=False)
    assert [(m.first, m.second, m.exact) for m in leaks.matches] == [(0, 2, True)]


def test_sketches_serve_for_both_questions():
    rng = random.Random(5)
    text = write(rng, 300)
    train = documents_of(text, edit(text, rng), write(rng, 300))
    other = documents_of(edit(text, rng))
    sketches = sketch_documents(train)
    assert find_duplicates(sketches) == find_duplicates(train)
    assert find_leaks(sketches, sketch_documents(other)) == find_leaks(train, other)
    assert find_duplicates(train) == find_duplicates(train)


def test_a_template_does_not_make_one_cluster_of_all():
    rng = random.Random(6)
    template = [write(rng, 200) for _ in range(4)]
    filled = ["".join(part + write(rng, 60) for part in template) for _ in range(150)]
    copied = [edit(text, rng, 0.002) for text in filled[:20]]
    duplicates = find_duplicates(documents_of(*filled, *copied))
    assert duplicates.clusters == tuple((number, number + 150) for number in range(20))
    assert "170 of 170 documents hang together" in duplicates.notes[0]
    assert "at least 0.6" in duplicates.notes[0] or "at least 0.8" in duplicates.notes[0]
    leaks = find_leaks(documents_of(*filled), documents_of(*copied, *(["其他"] * 5)))
    assert leaks.train == tuple(range(20))
    assert leaks.notes


def test_many_near_copies_of_one_text_are_one_cluster():
    rng = random.Random(7)
    text = write(rng, 800)
    copies = [edit(text, rng, 0.03) for _ in range(40)]
    duplicates = find_duplicates(documents_of(*(write(rng, 800) for _ in range(40)), text, *copies))
    assert duplicates.clusters == (tuple(range(40, 81)),)


def test_r24_a_text_of_one_character_repeated_is_no_trouble():
    texts = ["无" * 100_000, "无" * 50_000, "有" * 100_000]
    assert find_duplicates(documents_of(*texts)).clusters == ((0, 1),)


def test_nothing_and_one():
    assert find_duplicates([]).clusters == ()
    assert find_leaks([], documents_of("text")).matches == ()
    assert find_duplicates(documents_of("text")).cluster_ids.tolist() == [0]


def test_the_library_is_asked_for_only_by_near_copies(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    monkeypatch.setattr("longform.extras.is_available", lambda library: library != "datasketch")
    assert find_duplicates(documents_of("text", "text"), near=False).exact == ((0, 1),)
    with pytest.raises(MissingExtraError, match=r"longform\[doctor\]"):
        find_duplicates(documents_of("text", "text"))


@given(st.lists(st.sampled_from(["a", "A ", "bb", "c" * 40, "C" * 40, "d" * 12]), max_size=20))
@settings(max_examples=60, deadline=None)
def test_clusters_part_the_documents(texts):
    duplicates = find_duplicates(documents_of(*texts))
    members = [member for cluster in duplicates.clusters for member in cluster]
    assert len(members) == len(set(members))
    assert all(
        len(cluster) > 1 and list(cluster) == sorted(cluster) for cluster in duplicates.clusters
    )
    ids = duplicates.cluster_ids
    folded = [text.strip().lower() for text in texts]
    for first in range(len(texts)):
        for second in range(len(texts)):
            assert (ids[first] == ids[second]) == (folded[first] == folded[second])


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))),
        )
    )
)
def test_join_gives_the_first_item_of_each_component(case):
    count, pairs = case
    roots = join(count, pairs)
    assert all(roots[first] == roots[second] for first, second in pairs)
    assert all(roots[root] == root <= item for item, root in enumerate(roots))
    assert len(set(roots.tolist())) >= count - len(pairs)


@pytest.mark.shared
@pytest.mark.parametrize("corpus", ["fudan", "newsgroups"])
def test_r16_planted_copies_in_real_corpora(shared_folder, corpus):
    with gzip.open(
        shared_folder / "data" / corpus / "train.jsonl.gz", "rt", encoding="utf-8"
    ) as lines:
        texts = [text for line in lines if (text := json.loads(line)["text"]).strip()]
    rng = random.Random(8)
    texts = rng.sample(texts, 800)
    train, other = texts[:500], texts[500:]
    planted = train[:150] + [edit(text, rng) for text in train[150:500]]
    leaks = find_leaks(documents_of(*train), documents_of(*other, *planted))
    found = {(match.first, match.second - len(other)) for match in leaks.matches}
    assert sum((number, number) in found for number in range(500)) >= 0.99 * 500
    assert set(range(150)) <= {m.first for m in leaks.matches if m.exact}
