import pytest

from mtl.data import conll
from mtl.data.example import Example


def read(path, content, *arguments, **options):
    path = path / "data.txt"
    path.write_text(content, "utf-8")
    return list(conll(path, *arguments, **{"fractions": None, **options}).examples())


NEWS = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects \t VBZ B-VP O \n\n\n-DOCSTART- -X- O O\nPeter NNP B-NP B-PER\n"


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (None, [{"tags": ["B-ORG", "O"]}, {"tags": ["B-PER"]}]),
        ({"pos": 1, "ner": -1}, [{"pos": ["NNP", "VBZ"], "ner": ["B-ORG", "O"]}, {"pos": ["NNP"], "ner": ["B-PER"]}]),
        (("word", "pos", None, None), [{"pos": ["NNP", "VBZ"]}, {"pos": ["NNP"]}]),
        ({}, [{}, {}]),
    ],
)
def test_columns(tmp_path, columns, labels):
    assert read(tmp_path, NEWS, columns) == [
        Example("EU rejects", None, ((0, 2), (3, 10)), labels[0]),
        Example("Peter", None, ((0, 5),), labels[1]),
    ]


def test_the_column_of_words(tmp_path):
    (example,) = read(tmp_path, "1\tB\tin Rome\n", word=2, columns={"tag": 1}, separator="\t")
    assert example == Example("in Rome", None, ((0, 7),), {"tag": ["B"]})
    for options in ({"word": -1}, {"word": 1, "columns": {"tag": 1}}):
        with pytest.raises(ValueError, match="Expected a column of words apart from the columns of labels, got word="):
            read(tmp_path, "a b\n", **options)


def test_one_column_is_not_two_things(tmp_path):
    with pytest.raises(
        ValueError, match="data.txt: expected words and 'tags' in two of its 2 columns, got column 1 for both; give"
    ):
        read(tmp_path, "a X\n", word=1)
    with pytest.raises(ValueError, match="data.txt: expected weight and 'tags' in two of its 2 columns, got column 1 for both"):
        read(tmp_path, "a 1\n", weight=1)
    with pytest.raises(ValueError, match="line 2: expected 2 columns .*, got 3; give comments='#' if '# c c' is a comment"):
        read(tmp_path, "a X\n# c c\nb X\n\na X\n")


def test_comments(tmp_path):
    assert [example.text for example in read(tmp_path, "# O\na X\n")] == ["# a"]
    assert [example.text for example in read(tmp_path, "# a comment\na X\n\n# only a comment\n", comments="# ")] == ["a"]


def test_wide_spaces_are_words(tmp_path):
    assert read(tmp_path, "\u3000 O\nx O\n")[0].words == ((0, 1), (2, 3))


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        ("a X\nb\n", {}, r"line 2: expected 2 columns or more \(words 0, labels {'tags': -1}\), got 1"),
        ("a X\n\nb X Y\n", {}, "line 3: expected 2 columns as most sentences have, got 3"),
        ("a X\n", {"columns": {"ner": 3}}, r"line 1: expected 4 columns or more \(words 0, labels {'ner': 3}\), got 2"),
        ("a\tX\n\tX\n", {"separator": "\t"}, "line 2: expected a word in column 0, got nothing"),
    ],
)
def test_malformed_sentences(tmp_path, content, options, problem):
    with pytest.raises(ValueError, match=f"data.txt, {problem}; "):
        read(tmp_path, content, **options)


def test_a_sentence_is_left_out_as_a_whole(tmp_path):
    assert [e.text for e in read(tmp_path, "a X\n\nb X\nc\nd X\n\ne X\n", on_error="skip")] == ["a", "e"]


GOOD = "".join(f"w{i} A B-{i % 3}\nv{i} A O\n\n" for i in range(5))


@pytest.mark.parametrize(
    ("bad", "options"),
    [
        ("x B-0\ny O\n\n", {}),  # Too few, but enough for the last column.
        ("x A A B-0\ny A A O\n\n", {}),  # Too many.
        ("x B-0\ny O\nz O\n\nx B-0\n\n", {"columns": {"tags": -1}}),
        ("x A A B-0\n\n" * 9, {"columns": ["word", None, "tags"]}),  # More than the good ones, but their names are given.
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_malformed_sentence_decides_nothing(tmp_path, bad, options, first):
    content = bad + GOOD if first else GOOD + bad
    examples = read(tmp_path, content, on_error="skip", **options)
    assert [example.text for example in examples] == [f"w{i} v{i}" for i in range(5)]
    assert examples[0].labels["tags"] == ["B-0", "O"]
    with pytest.raises(ValueError, match=f"line {1 if first else 16}: expected 3 columns"):
        read(tmp_path, content, **options)


def test_of_two_sentences_the_one_with_the_columns_needed_counts(tmp_path):
    assert [e.text for e in read(tmp_path, "a X Y\n\nb X\n", on_error="skip")] == ["b"]
    assert [e.text for e in read(tmp_path, "a X\n\nb X Y\n", {"ner": 2}, on_error="skip")] == ["b"]


def test_comments_do_not_decide_the_number_of_columns(tmp_path):
    with pytest.raises(ValueError, match="line 1: expected 3 columns as most sentences have, got 4; give comments='#' if"):
        read(tmp_path, "# a b c\nx A O\n\n# a b c\ny A O\n")


@pytest.mark.parametrize("comment", ["# 7", "#id 7", "#\tid7", "# id=7"])
def test_comments_that_have_as_many_columns_as_words(tmp_path, comment):
    content = f"{comment}\nRome B-LOC\nis O\n\n{comment}\nit O\n"
    with pytest.raises(ValueError, match="line 1: expected a word and its tags, got '#.*, whose tags stand on no other line; "):
        read(tmp_path, content)
    assert [example.text for example in read(tmp_path, content, comments="#")] == ["Rome is", "it"]
    assert read(tmp_path, content, comments="")[1].text.startswith("#")


def test_number_signs_that_are_words(tmp_path):
    content = "# O\nnew B-X\n\n# #\n1 CD\n\n#tag HT\nof IN\n#tag HT\n\n# B-X\n"
    assert [e.text for e in read(tmp_path, content)] == ["# new", "# 1", "#tag of #tag", "#"]


def test_weights(tmp_path):
    examples = read(tmp_path, "a 0.5 X\nb 0.5 X\n\nc 0 X\n", weight=1)
    assert [(example.text, example.weight, example.labels) for example in examples] == [
        ("a b", 0.5, {"tags": ["X", "X"]}),
        ("c", 0.0, {"tags": ["X"]}),
    ]
    assert read(tmp_path, "a 0.50 X\nb .5 X\n", weight=1)[0].weight == 0.5
    assert read(tmp_path, "a 0.5 X\n", ["word", "weight", "tags"], weight=1)[0].labels == {"tags": ["X"]}
    with pytest.raises(ValueError, match=r"line 1: expected one weight for the sentence, got \[1.0, 2.0\]"):
        read(tmp_path, "a 1 X\nb 2 X\n", weight=1)
    with pytest.raises(ValueError, match="apart from the columns of labels, got word=0"):
        read(tmp_path, "a 1 X\n", weight=0)


@pytest.mark.parametrize("content", ["# a comment here\na X\n", "a X\n\n# text = one\nb X\n"])
def test_what_may_be_a_comment_is_named(tmp_path, content):
    with pytest.raises(ValueError, match="expected 2 columns .*; give comments='#' if '# .*' is a comment, or leave"):
        read(tmp_path, content)
    assert read(tmp_path, content, comments="#")[-1].labels == {"tags": ["X"]}


def test_places(tmp_path):
    examples = read(tmp_path, "-DOCSTART- O\n\n# it\na X\nb X\n\n\nc X\n", comments="#")
    assert [example.place for example in examples] == [f"{tmp_path / 'data.txt'}, line {number}" for number in (4, 8)]


@pytest.mark.parametrize(
    ("content", "line", "sign"),
    [
        ("% 7\na X\n\n% 8\nb X\n", 1, "%"),
        ("// seven\na X\n\nb X\n", 1, "//"),
        ("; seven\na X\n\nb X\n", 1, ";"),
        ("a X\n# seven\nb X\n", 2, "#"),
        ("a X\nb X\n# seven\n\n# seven\nb X\n", 3, "#"),
    ],
)
def test_other_comments_that_have_as_many_columns_as_words(tmp_path, content, line, sign):
    with pytest.raises(ValueError, match=f"line {line}: expected a word and its tags.*give comments='{sign}' if"):
        read(tmp_path, content)
    assert all("seven" not in example.labels["tags"] for example in read(tmp_path, content, comments=sign))


def test_words_that_comments_may_begin_with(tmp_path):
    """The tags of a whole file say that such a line is no comment, those of a line that others begin with another sign too."""
    late = "a X\n\n" * 1200
    assert len(read(tmp_path, late + "#now Z\n\nb Z\n")) == 1202
    assert len(read(tmp_path, "# X\nb X\n\na X\n% Y\n; Y\n// W\n#Rome V\n\n% Y\n")) == 3
