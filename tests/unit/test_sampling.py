from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.data.batching import BatchPlan
from longform.data.sampling import balanced_probabilities, class_weights, draw_documents

# How much classes and documents count


# The first example imports scikit-learn.
@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5).filter(lambda labels: len(set(labels)) == 5))
def test_r15_weights_of_classes_are_the_balanced_ones_of_scikit_learn(labels):
    from sklearn.utils.class_weight import compute_class_weight

    given_labels = np.array(labels)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=given_labels)
    found = class_weights(given_labels)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[given_labels].mean() == pytest.approx(1, rel=1e-5)


def test_r15_positive_weights_even_out_each_label_but_stay_within_bounds():
    labels = np.zeros((1000, 3), dtype=bool)
    labels[:250, 0] = True
    labels[:2, 1] = True
    labels[:990, 2] = True
    assert class_weights(labels) == pytest.approx([3, 20, 0.05])


@given(st.lists(st.integers(0, 3), min_size=4).filter(lambda labels: len(set(labels)) == 4))
def test_r15_all_classes_are_equally_likely_to_be_drawn(labels):
    given_labels = np.array(labels)
    likely = balanced_probabilities(given_labels)
    shares = [likely[given_labels == label].sum() for label in range(4)]
    assert shares == pytest.approx([0.25] * 4)


def test_r15_of_several_labels_the_rarest_decides():
    labels = np.array([[1, 0]] * 6 + [[1, 1]] * 2 + [[0, 0]] * 4, dtype=bool)
    likely = balanced_probabilities(labels)
    assert likely.sum() == pytest.approx(1)
    assert likely[6] / likely[0] == pytest.approx((1 / 2) / (1 / 8))
    assert likely[8] / likely[0] == pytest.approx((1 / 4) / (1 / 8))


# What an epoch draws


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_settings_each_document_is_drawn_once():
    drawn = draw_documents(100, rng(1))
    assert sorted(drawn.tolist()) == list(range(100))
    assert drawn.tolist() != list(range(100))


def test_r15_a_balanced_draw_has_all_classes_about_equally_often():
    labels = np.array([0] * 980 + [1] * 20)
    drawn = draw_documents(1000, rng(1), balanced_probabilities(labels))
    assert len(drawn) == 1000
    assert 430 < labels[drawn].sum() < 570


def test_hard_documents_are_drawn_by_their_loss_and_the_rest_evenly():
    losses = np.full(1000, 0.01)
    losses[:100] = 1.0
    drawn = draw_documents(1000, rng(1), losses=losses, hard_share=0.4)
    assert len(drawn) == 1000
    counts = np.bincount(drawn, minlength=1000)
    # 60 of the evenly drawn ones, and 100 / 109 of the 400 that are drawn by loss.
    assert counts[:100].sum() == pytest.approx(60 + 367, abs=40)
    # Easy ones keep coming.
    assert (counts[100:] > 0).mean() > 0.5


def test_a_few_absurd_losses_do_not_take_over():
    losses = np.ones(1000)
    losses[:3] = [1e6, np.inf, np.nan]
    counts = np.bincount(draw_documents(1000, rng(1), losses=losses, hard_share=0.9))
    assert counts.max() < 10


@pytest.mark.parametrize("losses", [None, np.full(50, np.nan)])
def test_before_any_loss_is_known_the_draw_is_even(losses):
    drawn = draw_documents(50, rng(1), losses=losses, hard_share=0.5)
    assert sorted(drawn.tolist()) == list(range(50))


def test_losses_of_zero_are_no_trouble():
    drawn = draw_documents(50, rng(1), losses=np.zeros(50), hard_share=0.5)
    assert len(drawn) == 50


@given(st.integers(1, 60), st.integers(0, 9), st.floats(0, 0.99), st.booleans())
def test_a_draw_follows_its_seed(count, seed, share, balanced):
    likely = balanced_probabilities(np.arange(count) % 2 * (count > 1)) if balanced else None
    losses = rng(0).random(count)
    first, second = (draw_documents(count, rng(seed), likely, losses, share) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert len(first) == count
    assert set(first.tolist()) <= set(range(count))


# Which documents share a batch


@st.composite
def plans(draw, budget: bool | None = None) -> BatchPlan:
    count = draw(st.integers(1, 60))
    tokens = draw(st.lists(st.integers(1, 128), min_size=count, max_size=count))
    segments = draw(st.lists(st.integers(1, 8), min_size=count, max_size=count))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    labels[0] = 0
    tokenwise = draw(st.booleans()) if budget is None else budget
    return BatchPlan(
        sizes=np.stack([segments, tokens], axis=1),
        seed=draw(st.integers(0, 5)),
        batch_size=draw(st.integers(1, 16)),
        token_budget=draw(st.integers(64, 4096)) if tokenwise else None,
        probabilities=balanced_probabilities(labels) if draw(st.booleans()) else None,
        hard_share=draw(st.sampled_from([0.0, 0.3, 0.9])),
        processes=draw(st.integers(1, 4)),
    )


@given(plans(), st.integers(0, 4))
@settings(max_examples=200)
def test_r37_every_process_has_the_same_number_of_batches_in_every_epoch(plan, epoch):
    losses = rng(7).random(len(plan.sizes)).astype(np.float32)
    batches = plan.batches(epoch, losses if epoch else None)
    assert len(batches) == plan.batches_per_epoch
    assert len({len(batches[process :: plan.processes]) for process in range(plan.processes)}) == 1
    assert all(batches)


@given(plans(), st.integers(0, 4))
@settings(max_examples=200)
def test_r37_batches_hold_what_the_epoch_draws_and_nothing_twice(plan, epoch):
    losses = rng(7).random(len(plan.sizes)).astype(np.float32) if epoch else None
    batches = plan.batches(epoch, losses)
    held = Counter(document for batch in batches for document in batch)
    drawn = Counter(
        draw_documents(
            len(plan.sizes), rng(plan.seed, epoch), plan.probabilities, losses, plan.hard_share
        ).tolist()
    )
    if sum(held.values()) > len(plan.sizes):
        # Fewer documents than processes: whole batches of one document come again.
        assert len(plan.sizes) < plan.batches_per_epoch
        assert set(held) == set(drawn)
    elif plan.token_budget is None or (plan.probabilities is None and losses is None):
        assert held == drawn
    else:
        # Long documents may leave no place for the last that were drawn with replacement.
        assert held <= drawn
        assert len(batches) == plan.batches_per_epoch


@given(plans(budget=True), st.integers(0, 4))
@settings(max_examples=200)
def test_r30_no_batch_is_larger_than_the_budget_but_for_a_single_document(plan, epoch):
    for batch in plan.batches(epoch):
        segments, tokens = plan.sizes[batch].max(axis=0)
        padded = len(batch) * segments * tokens
        assert plan.cost(batch) == padded
        assert padded <= plan.token_budget or len(batch) == 1


@given(plans(budget=True), st.integers(0, 4))
def test_r30_the_most_costly_batch_comes_first(plan, epoch):
    batches = plan.batches(epoch)
    assert plan.cost(batches[0]) == max(plan.cost(batch) for batch in batches)


@given(plans(budget=False), st.integers(0, 4))
def test_r30_the_largest_document_comes_first(plan, epoch):
    batches = plan.batches(epoch)
    first = [document for batch in batches[: plan.processes] for document in batch]
    cost = plan.sizes.prod(axis=1)
    assert cost[first].max() == cost[[d for batch in batches for d in batch]].max()


@given(st.integers(1, 60), st.integers(1, 4), st.booleans())
def test_several_processes_take_the_steps_of_one(count, batch_size, by_length):
    sizes = rng(1).integers(1, 100, (count, 2))
    values = {"sizes": sizes, "seed": 2, "by_length": by_length}
    whole = BatchPlan(**values, batch_size=2 * batch_size)
    divided = BatchPlan(**values, batch_size=batch_size, processes=2)
    if count % (2 * batch_size) == 1:
        # One of two processes would have nothing to do in the last step.
        return
    steps = divided.batches(0)
    together = [sorted(a + b) for a, b in zip(steps[::2], steps[1::2], strict=True)]
    assert together == [sorted(batch) for batch in whole.batches(0)]


@given(plans(), st.integers(0, 4))
def test_r35_batches_follow_the_seed_and_the_epoch_alone(plan, epoch):
    again = BatchPlan(**{name: getattr(plan, name) for name in plan.__dataclass_fields__})
    plan.batches(epoch + 1)
    assert plan.batches(epoch) == again.batches(epoch)


def corpus_plan(**changes) -> BatchPlan:
    """A corpus with the lengths of news: one in three documents has one segment."""
    generator = rng(3)
    segments = np.minimum(np.ceil(generator.lognormal(1.2, 1.0, 2000)), 40).astype(np.int64)
    tokens = np.where(segments > 1, 128, generator.integers(8, 129, 2000))
    values = {"sizes": np.stack([segments, tokens], axis=1), "seed": 1, "batch_size": 8}
    return BatchPlan(**values | changes)


def test_epochs_differ_in_the_company_that_documents_keep():
    plan = corpus_plan(token_budget=8192)
    first, second = ({tuple(sorted(b)) for b in plan.batches(epoch)} for epoch in (0, 1))
    alone = {batch for batch in first & second if len(batch) == 1}
    assert len((first & second) - alone) < 0.1 * len(first)
    sizes = [plan.cost(batch) for batch in plan.batches(0)]
    # Shuffled, but for the first.
    assert sizes[1:] != sorted(sizes[1:], reverse=True)


def test_batches_of_like_length_are_hardly_padded():
    plan = corpus_plan(token_budget=8192)
    batches = plan.batches(0)
    padded = sum(plan.cost(batch) for batch in batches)
    real = plan.sizes.prod(axis=1).sum()
    assert real / padded > 0.95
    # Nor are many batches half empty: the longest documents leave no place for a second.
    assert padded / (8192 * len(batches)) > 0.85


@pytest.mark.parametrize("budget", [None, 8192])
def test_r37_processes_wait_little_for_each_other(budget):
    plan = corpus_plan(processes=4, token_budget=budget)
    batches = plan.batches(0)
    # Segments are encoded without the padding of their documents: real tokens count.
    burdens = [int(plan.sizes[batch].prod(axis=1).sum()) for batch in batches]
    slowest = sum(max(burdens[start : start + 4]) for start in range(0, len(burdens), 4))
    assert slowest / (sum(burdens) / 4) < 1.1


def test_the_user_is_told_how_batches_are_made():
    plan = corpus_plan(token_budget=1024, hard_share=0.25)
    text = plan.describe()
    assert f"{plan.batches_per_epoch:,} an epoch" in text
    assert "from epoch 2 on, 25 % are drawn by their loss" in text
    alone = int((plan.sizes.prod(axis=1) > 1024).sum())
    assert alone > 0
    assert f"{alone:,} documents are larger than train_batch_tokens (1,024)" in text
