from __future__ import annotations

import pytest

from longform.config import load_config
from longform.errors import ConfigError
from longform.reporting import Reporter
from longform.training.segment_lengths import LengthTrial, choose_length, propose_length
from longform.types import Document


def trial(length: int, accuracy: float, cost: float, judged: int = 100) -> LengthTrial:
    return LengthTrial(length, 4.0, cost, 1_000.0, accuracy, accuracy, judged)


def test_the_cheapest_within_one_standard_error_of_the_best_is_chosen():
    # The standard error of 0.90 on 100 documents is 0.03.
    trials = [trial(128, 0.88, 10.0), trial(256, 0.90, 11.0), trial(512, 0.89, 13.0)]
    assert choose_length(trials).segment_length == 128


def test_a_cheap_length_that_is_worse_is_not_chosen():
    trials = [trial(128, 0.86, 10.0), trial(256, 0.90, 11.0), trial(512, 0.905, 13.0)]
    assert choose_length(trials).segment_length == 256


def test_more_documents_make_smaller_differences_count():
    trials = [trial(128, 0.88, 10.0, 10_000), trial(512, 0.90, 13.0, 10_000)]
    assert choose_length(trials).segment_length == 512


def test_without_a_pretrained_encoder_there_is_nothing_to_try():
    config = load_config(None, {"try_segment_lengths": [128, 256]})
    with pytest.raises(ConfigError, match="needs a pretrained encoder"):
        propose_length(config, [Document("1", "x", "y")], Reporter(), None)
