from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.config import RunConfig
from longform.data.splits import (
    Split,
    grouped_split,
    hold_out,
    k_folds,
    stratified_split,
    time_split,
)
from longform.errors import InputError
from longform.types import Document

FRACTIONS = st.floats(0.05, 0.95)
ONE_LABEL = st.sampled_from("abc").map(lambda label: (label,))
SEVERAL_LABELS = st.sets(st.sampled_from("abcd"), max_size=3).map(
    lambda labels: tuple(sorted(labels))
)


def corpus(**sizes: int) -> list[Document]:
    return [
        Document(f"{label}{n}", f"{label} text {n}", label)
        for label, size in sizes.items()
        for n in range(size)
    ]


def build(rows: list[tuple[int, tuple[str, ...]]], several: bool) -> list[Document]:
    return [
        Document(str(n), f"text {text}", labels=labels)
        if several
        else Document(str(n), f"text {text}", labels[0])
        for n, (text, labels) in enumerate(rows)
    ]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Document], list[int]]:
    """Documents of one label or several with repeated texts, and a key to keep together."""
    several = draw(st.booleans())
    row = st.tuples(st.integers(0, 15), SEVERAL_LABELS if several else ONE_LABEL)
    rows = draw(st.lists(row, min_size=2, max_size=60))
    keys = draw(st.lists(st.integers(0, 25), min_size=len(rows), max_size=len(rows)))
    return build(rows, several), keys


def attempt(split: Callable[[], Split]) -> Split | str:
    """Return the split, or what was wrong."""
    try:
        return split()
    except InputError as error:
        return str(error)


def units_of(documents: list[Document], keys: list[int] | None) -> list[int]:
    """Unit of each document, by the slowest way: spread the lowest number until nothing moves."""
    units = list(range(len(documents)))
    moved = True
    while moved:
        moved = False
        for names in ([d.text for d in documents], keys or units):
            lowest: dict[object, int] = {}
            for name, unit in zip(names, units, strict=True):
                lowest[name] = min(unit, lowest.get(name, unit))
            new = [lowest[name] for name in names]
            moved |= new != units
            units = new
    return units


def classes_of(document: Document) -> tuple[str, ...]:
    return document.labels or ((document.label,) if document.label else ("none",))


def check_parts(documents: list[Document], split: Split, keys: list[int] | None) -> None:
    """Nothing is lost or twice there, order is kept, and no unit is on both sides."""
    both = sorted((*split.train, *split.validation), key=lambda document: int(document.id))
    assert both == documents
    for part in (split.train, split.validation):
        assert part
        assert all(int(one.id) < int(next_one.id) for one, next_one in pairwise(part))
    units = units_of(documents, keys)
    held = {units[int(document.id)] for document in split.validation}
    assert not held & {units[int(document.id)] for document in split.train}


def check_classes(documents: list[Document], split: Split, keys: list[int] | None) -> None:
    """Every class is learnt; one in two units or more is judged too, or the notes say it is not."""
    learnt = {label for document in split.train for label in classes_of(document)}
    judged = {label for document in split.validation for label in classes_of(document)}
    assert learnt == {label for document in documents for label in classes_of(document)}
    units = units_of(documents, keys)
    for label in learnt - {"none"}:
        places = {units[int(d.id)] for d in documents if label in classes_of(d)}
        noted = any(note.startswith("classes ") and f"'{label}'" in note for note in split.notes)
        assert noted == (label not in judged)
        if len(places) == 1:
            assert label not in judged
        elif all(len(classes_of(document)) == 1 for document in documents) and keys is None:
            mixed = Counter(
                unit for unit in set(zip(units, map(classes_of, documents), strict=True))
            )
            assert label in judged or len(mixed) > len(set(units))


@given(case=corpora(), fraction=FRACTIONS, clustered=st.booleans())
@settings(max_examples=150, deadline=None)
def test_r16_nothing_lost_no_copy_on_both_sides_every_class_judged(case, fraction, clustered):
    documents, keys = case
    clusters = keys if clustered else None
    split = attempt(lambda: stratified_split(documents, fraction, clusters=clusters))
    if isinstance(split, str):
        assert "0 for validation" in split
        units = units_of(documents, clusters)
        single = Counter(
            label for _, label in {(units[int(d.id)], x) for d in documents for x in classes_of(d)}
        )
        # Each unit is the only one of some class.
        assert {
            units[int(d.id)] for d in documents if any(single[x] == 1 for x in classes_of(d))
        } == set(units)
        return
    check_parts(documents, split, clusters)
    check_classes(documents, split, clusters)


@given(
    sizes=st.lists(st.integers(1, 80), min_size=2, max_size=5),
    fraction=FRACTIONS,
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_each_class_is_held_out_in_its_share(sizes, fraction, seed):
    documents = corpus(**{"abcde"[n]: size for n, size in enumerate(sizes)})
    if max(sizes) < 2:
        return
    held = Counter(d.label for d in stratified_split(documents, fraction, seed).validation)
    for label, size in Counter(d.label for d in documents).items():
        expected = min(max(round(fraction * size), 1), size - 1)
        assert held[label] == expected


def test_shares_count_documents_not_texts():
    documents = [*corpus(a=100, b=100), *[Document(f"x{n}", "a text 0", "a") for n in range(60)]]
    split = stratified_split(documents, 0.2)
    held = Counter(document.label for document in split.validation)
    assert held == {"a": 32, "b": 20}


def test_shares_of_each_class_and_order():
    documents = corpus(a=1000, b=100, c=20)
    split = stratified_split(documents)
    assert Counter(d.label for d in split.validation) == {"a": 100, "b": 10, "c": 2}
    assert list(split.train) == [d for d in documents if d in set(split.train)]
    assert split.notes == ()


def test_several_labels_are_each_held_out_in_their_share():
    documents = [
        Document(
            str(n),
            f"text {n}",
            labels=tuple(x for x, every in (("a", 2), ("b", 3), ("c", 25)) if n % every == 0),
        )
        for n in range(1000)
    ]
    held = Counter(x for d in stratified_split(documents).validation for x in classes_of(d))
    assert held["c"] == 4
    assert abs(held["b"] - 33) <= 2
    assert abs(held["a"] - 50) <= 3
    assert abs(held["none"] - 33) <= 2


@pytest.mark.parametrize("clusters", [None, [n // 2 for n in range(100)]])
def test_same_seed_same_split_other_seed_another(clusters):
    documents = corpus(a=50, b=50)
    groups = clusters or list(range(100))
    for split in (
        lambda seed: stratified_split(documents, seed=seed, clusters=clusters),
        lambda seed: grouped_split(documents, groups, seed=seed),
        lambda seed: list(k_folds(documents, 4, seed, groups)),
    ):
        assert split(1) == split(1)
        assert split(1) != split(2)


def test_r11_class_with_one_document_is_trained_on_and_named():
    split = stratified_split(corpus(哲学=1, 农业=5, 体育=5))
    assert "哲学" in {d.label for d in split.train} - {d.label for d in split.validation}
    assert split.notes == ("classes with a single text, trained on but not validated: '哲学'",)


def test_duplicates_and_near_copies_are_noted():
    documents = [*corpus(a=10, b=10), *corpus(a=3)]
    assert stratified_split(documents).notes == (
        "3 documents repeat a text and stay on the side of the first",
    )
    clusters = list(range(23))
    clusters[1] = clusters[2] = 0
    notes = stratified_split(documents, clusters=clusters).notes
    assert notes[1] == "2 texts are near-copies of another and stay on its side"


def test_r12_empty_side_names_the_sizes():
    with pytest.raises(InputError, match="2 for training and 0 for validation out of 2 documents"):
        stratified_split(corpus(a=1, b=1))
    with pytest.raises(InputError, match="0 for training and 0 for validation"):
        stratified_split([])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 10, float("nan")])
def test_fraction_must_be_a_share(fraction):
    documents = corpus(a=5, b=5)
    with pytest.raises(InputError, match="between 0 and 1"):
        stratified_split(documents, fraction)
    with pytest.raises(InputError, match="between 0 and 1"):
        grouped_split(documents, list(range(10)), fraction)
    with pytest.raises(InputError, match="between 0 and 1"):
        time_split(documents, list(map(str, range(10))), fraction)


@given(case=corpora(), fraction=FRACTIONS)
@settings(max_examples=100, deadline=None)
def test_groups_never_straddle(case, fraction):
    documents, groups = case
    split = attempt(lambda: grouped_split(documents, groups, fraction))
    if isinstance(split, str):
        assert "0 for validation" in split
        return
    check_parts(documents, split, groups)
    check_classes(documents, split, groups)


def test_groups_that_share_a_text_or_a_cluster_stay_together():
    documents = corpus(a=40, b=40)
    documents[1] = Document("a1", documents[0].text, "a")
    groups = [f"case {n}" for n in range(80)]
    clusters = list(range(80))
    clusters[2] = 3
    for seed in range(20):
        split = grouped_split(documents, groups, 0.3, seed, clusters)
        held = {document.id for document in split.validation}
        assert ("a0" in held) == ("a1" in held)
        assert ("a2" in held) == ("a3" in held)
        assert split.notes == ("2 groups share texts with another group and stay on its side",)


def test_groups_too_large_for_the_share_are_said():
    documents = corpus(a=30, b=30)
    split = grouped_split(documents, [n % 3 for n in range(60)], 0.1)
    assert len(split.validation) == 20
    assert split.notes == (
        "33.3 % of the documents held out instead of 10 %: whole groups come no closer",
    )


def test_class_in_a_single_group_is_named():
    documents = corpus(a=6, b=6)
    split = grouped_split(documents, ["x"] * 6 + list("yzyzyz"), 0.5)
    assert split.notes == ("classes with a single group, trained on but not validated: 'a'",)


@given(
    times=st.lists(st.integers(0, 12), min_size=2, max_size=50),
    texts=st.randoms(use_true_random=False),
    fraction=FRACTIONS,
)
@settings(max_examples=100, deadline=None)
def test_the_latest_are_held_out_and_equal_times_never_part(times, texts, fraction):
    documents = [
        Document(str(n), f"text {texts.randint(0, 60)}", "ab"[n % 2]) for n in range(len(times))
    ]
    split = attempt(lambda: time_split(documents, [str(time) for time in times], fraction))
    if isinstance(split, str):
        assert "two times" in split
        return
    check_parts(documents, split, None)
    held = [times[int(document.id)] for document in split.validation]
    early_texts = {d.text for n, d in enumerate(documents) if times[n] < min(held)}
    for document in split.train:
        # Only a repetition of an early text may be late and trained on.
        assert (
            times[int(document.id)] < min(held)
            or document.text
            in {d.text for d in documents if times[int(d.id)] not in held} | early_texts
        )


def test_time_split_meets_the_share_as_nearly_as_equal_times_allow():
    documents = corpus(a=10, b=10)
    years = ["2019"] * 8 + ["2020"] * 2 + ["2019"] * 5 + ["2021"] * 4 + ["2022"]
    sizes = {
        fraction: len(time_split(documents, years, fraction).validation)
        for fraction in (0.01, 0.1, 0.25, 0.5, 0.9)
    }
    assert sizes == {0.01: 1, 0.1: 1, 0.25: 5, 0.5: 7, 0.9: 7}
    split = time_split(documents, years, 0.25)
    assert split.notes == (
        "classes trained on but not validated: 'a'",
        "held out: the documents from 2021 on",
    )


def test_a_late_copy_of_an_early_text_stays_in_training():
    documents = [*corpus(a=10, b=10), Document("copy", "a text 0", "a"), *corpus(c=1)]
    split = time_split(documents, [str(n) for n in range(22)], 0.2)
    assert "copy" in {document.id for document in split.train}
    assert "1 late documents repeat an early one and stay in training" in split.notes
    assert "classes validated but never trained on: 'c'" in split.notes


def test_one_time_only_is_refused():
    with pytest.raises(InputError, match="10 documents of 1 times"):
        time_split(corpus(a=5, b=5), ["2020"] * 10)


@given(case=corpora(), folds=st.integers(2, 5), grouped=st.booleans())
@settings(max_examples=100, deadline=None)
def test_folds_hold_every_document_out_once_and_no_unit_straddles(case, folds, grouped):
    documents, keys = case
    groups = keys if grouped else None
    units = units_of(documents, groups)
    units_of_class: dict[str, set[int]] = {}
    for document, unit in zip(documents, units, strict=True):
        for label in classes_of(document):
            units_of_class.setdefault(label, set()).add(unit)
    alone = {unit for places in units_of_class.values() if len(places) == 1 for unit in places}
    if len(set(units) - alone) < folds:
        with pytest.raises(InputError, match=f"{folds} folds for"):
            list(k_folds(documents, folds, 0, groups))
        return
    try:
        splits = list(k_folds(documents, folds, 0, groups))
    except InputError:
        # Too few units of each class to reach every fold is the only excuse left.
        assert max(len(places) for places in units_of_class.values()) < folds
        return
    held = Counter(document.id for split in splits for document in split.validation)
    assert held == Counter(str(n) for n, unit in enumerate(units) if unit not in alone)
    for split in splits:
        check_parts(documents, split, groups)


@pytest.mark.parametrize("sizes", [{"a": 407, "b": 238}, {"a": 100, "b": 7, "c": 2, "d": 33}])
def test_folds_are_alike(sizes):
    splits = list(k_folds(corpus(**sizes), 5))
    for label, size in sizes.items():
        counts = [sum(d.label == label for d in split.validation) for split in splits]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1
    whole = [len(split.validation) for split in splits]
    assert max(whole) - min(whole) <= 2


def test_folds_train_on_a_class_of_one_text_every_time():
    splits = list(k_folds(corpus(a=6, b=6, c=1), 3))
    assert all("c" in {d.label for d in split.train} for split in splits)
    assert all("a single text, trained on but not validated: 'c'" in s.notes[0] for s in splits)


@pytest.mark.parametrize("folds", [1, 0, -3, 11])
def test_folds_must_be_possible(folds):
    with pytest.raises(InputError, match="two folds or more"):
        list(k_folds(corpus(a=5, b=5), folds))


def with_fields(documents: list[Document], **columns: list[str]) -> list[Document]:
    return [
        Document(
            d.id, d.text, d.label, fields={name: values[n] for name, values in columns.items()}
        )
        for n, d in enumerate(documents)
    ]


def test_hold_out_goes_by_group_by_time_or_by_class():
    documents = with_fields(
        corpus(a=20, b=20),
        case=[str(n // 4) for n in range(40)],
        date=[f"20{n:02}-01-01" for n in range(40)],
    )
    near = {"near_duplicates": "ignore"}
    by_class = hold_out(documents, RunConfig(validation_split=0.2, seed=3, **near))
    assert by_class == stratified_split(documents, 0.2, 3)
    by_group = hold_out(documents, RunConfig(group_column="case", validation_split=0.2, **near))
    held = {document.fields["case"] for document in by_group.validation}
    assert not held & {document.fields["case"] for document in by_group.train}
    by_time = hold_out(documents, RunConfig(time_column="date", validation_split=0.2, **near))
    assert [document.id for document in by_time.validation] == [f"b{n}" for n in range(12, 20)]


@pytest.mark.parametrize("columns", [{}, {"group_column": "case"}, {"time_column": "date"}])
def test_r16_hold_out_keeps_near_copies_together_unless_told_not_to(columns):
    pytest.importorskip("datasketch")
    texts = [
        f"{n} {n * 7919} 号案件，原告主张第{n}项请求，金额为{n * 104729}元，依据合同第{n}条。" * 3
        for n in range(40)
    ]
    rows = [
        (text + tail, label)
        for text, label in zip(texts, "ab" * 20, strict=True)
        for tail in ("", "特此公告。")
    ]
    documents = with_fields(
        [Document(str(n), text, label) for n, (text, label) in enumerate(rows)],
        case=[str(n) for n in range(80)],
        date=[str(n) for n in range(80)],
    )
    together = hold_out(documents, RunConfig(validation_split=33 / 80, **columns))
    pairs = Counter(int(document.id) // 2 for document in together.validation)
    assert set(pairs.values()) == {2}
    apart = hold_out(
        documents, RunConfig(validation_split=33 / 80, near_duplicates="ignore", **columns)
    )
    assert 1 in Counter(int(document.id) // 2 for document in apart.validation).values()


@pytest.mark.parametrize("setting", ["group_column", "time_column"])
def test_hold_out_names_documents_without_the_column(setting):
    documents = with_fields(corpus(a=5, b=5), column=["1"] * 8 + ["", " "])
    with pytest.raises(InputError, match=rf"column 'column' \({setting}\).*2 of 10 .* ids b3, b4"):
        hold_out(documents, RunConfig(near_duplicates="ignore", **{setting: "column"}))
    with pytest.raises(InputError, match="10 of 10 documents"):
        hold_out(documents, RunConfig(near_duplicates="ignore", **{setting: "other"}))


def test_a_small_set_made_from_a_template_is_split_all_the_same_and_said():
    template = "本院认为被告应当依约支付货款并承担案件受理费用，判决如下。" * 6
    documents = [Document(str(n), f"{template}第{n}号", "ab"[n % 2]) for n in range(20)]
    split = hold_out(documents, RunConfig(validation_split=0.2))
    assert len(split.validation) == 4
    assert "20 of 20 documents are near-copies of one another" in split.notes[0]
