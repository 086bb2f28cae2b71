from mtl.data import lines
from mtl.data.example import Example


def test_a_text_a_line(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(" one \n\n  \ntwo\u3000三", "utf-8")
    assert list(lines(path, fractions=None).examples()) == [Example("one"), Example("two\u3000三")]
    assert lines(path).labels == ()
    (first, _) = lines(path, segment=str.split, fractions=None).examples()
    assert first.words == ((0, 3),)
