import pytest

from mtl.data import conllu
from mtl.data.example import Example


def row(number, form, lemma="_", upos="_", feats="_", head="_", deprel="_"):
    return "\t".join([str(number), form, lemma, upos, "_", feats, str(head), deprel, "_", "_"]) + "\n"


def read(path, content, *arguments, **options):
    path = path / "data.conllu"
    path.write_text(content, "utf-8")
    return list(conllu(path, *arguments, **{"fractions": None, **options}).examples())


GERMAN = (
    "# newdoc\n# sent_id = news-1\n# text = Sie geht zum Arzt.\n"
    + row(1, "Sie", "sie", "PRON", "Case=Nom", 2, "nsubj")
    + row(2, "geht", "gehen", "VERB", "_", 0, "root")
    + row("3-4", "zum")
    + row(3, "zu", "zu", "ADP", "_", 5, "case")
    + row(4, "dem", "der", "DET", "Case=Dat", 5, "det")
    + row("4.1", "leer")
    + row(5, "Arzt", "Arzt", "NOUN", "Case=Dat", 2, "obl")
    + row(6, "#", "#", "SYM", "_", 2, "punct")
    + "\n"
)
BARE = "# sent_id = blog-1\n" + row(1, "Ja") + "\n"


def test_words_and_labels(tmp_path):
    first, second = read(tmp_path, GERMAN + BARE)
    assert first == Example(
        "Sie geht zu dem Arzt #",
        None,
        ((0, 3), (4, 8), (9, 11), (12, 15), (16, 20), (21, 22)),
        {
            "upos": ["PRON", "VERB", "ADP", "DET", "NOUN", "SYM"],
            "feats": ["Case=Nom", "_", "_", "Case=Dat", "Case=Dat", "_"],
            "lemma": ["sie", "gehen", "zu", "der", "Arzt", "#"],
            "deprel": ["nsubj", "root", "case", "det", "obl", "punct"],
            "head": [2, 0, 5, 5, 2, 2],
        },
    )
    assert second == Example("Ja", None, ((0, 2),), {"feats": ["_"]})


def test_labels_wanted(tmp_path):
    assert read(tmp_path, GERMAN, "upos")[0].labels == {"upos": ["PRON", "VERB", "ADP", "DET", "NOUN", "SYM"]}
    with pytest.raises(ValueError, match="Unknown label of CoNLL-U 'upso'; did you mean 'upos'"):
        read(tmp_path, GERMAN, ["upso"])


def test_sent_id_prefix(tmp_path):
    content = GERMAN + BARE + row(1, "namenlos") + "\n"
    assert [example.text for example in read(tmp_path, content, sent_id_prefix="blog")] == ["Ja"]
    assert len(read(tmp_path, content, sent_id_prefix=["blog", "news"])) == 2
    assert len(read(tmp_path, content)) == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1\ta\n", "line 1: expected 10 columns with tabs between them, got 2"),
        (row(1, "a") + row(3, "b"), "line 2: expected the word number 2, got '3'"),
        (row(1, "a") + row(2, ""), "line 2: expected a value in every column, got nothing in one; write _"),
        (row(1, "a", head=0) + row("2-3", "bc") + row(2, "b", head=3), "line 3: expected a head from 0 to 2, got '3'"),
        (row(1, "a", head=0) + row(2, "b"), "line 2: expected a head from 0 to 2, got '_'"),
        (row(1, "a", head="x"), "line 1: expected a head from 0 to 1, got 'x'"),
        ("# c\n" + row("1-2", "ab"), "line 2: expected words, got only multiword tokens or empty nodes"),
    ],
)
def test_malformed_sentences(tmp_path, content, problem):
    with pytest.raises(ValueError, match=f"data.conllu, {problem}"):
        read(tmp_path, content)
