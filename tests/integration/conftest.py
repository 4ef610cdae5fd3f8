"""One tiny bundle for all tests of the command line, and a cache and state folder of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import BAG_SETTINGS, Corpus, train, write_corpus, write_encoder


@pytest.fixture(scope="session")
def own_folders(tmp_path_factory):
    """Keep vectors and measurements of these tests out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("user")
        patch.setenv("LONGFORM_CACHE", str(base / "cache"))
        patch.setenv("LONGFORM_STATE", str(base / "state"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield base


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    """Three files of labelled documents."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def trained_bag(own_folders, corpus, tmp_path_factory):
    """The folder of a bundle that `longform train` wrote, and what the command said."""
    folder = tmp_path_factory.mktemp("bag") / "model"
    result = train(corpus, folder, *BAG_SETTINGS)
    assert result.status == 0, result.err
    return folder, result


@pytest.fixture(scope="session")
def bundle(trained_bag) -> Path:
    """A bundle to read and not to change."""
    return trained_bag[0]


@pytest.fixture
def own_bundle(bundle, tmp_path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(bundle, tmp_path / "own-model"))


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    """The folder of a tiny BERT."""
    return write_encoder(tmp_path_factory.mktemp("encoder") / "bert-tiny")
