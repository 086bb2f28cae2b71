import gzip

import numpy as np
import pytest

from mtl.encoders.word_vectors import load_word_vectors


@pytest.mark.parametrize("header", ["", "3 2\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_reads_word2vec_and_glove(tmp_path, header, zipped):
    text = header + "the 1 2\nnew york 3 4\n北京 5 -6e-1 \n"
    file = tmp_path / ("v.txt.gz" if zipped else "v.txt")
    file.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    vectors, found = load_word_vectors(file, ["[PAD]", "北京", "THE", "new york", ""])
    np.testing.assert_allclose(vectors, np.array([[0, 0], [5, -0.6], [1, 2], [3, 4], [0, 0]]))
    assert found.tolist() == [False, True, True, True, False] and vectors.dtype == np.float32


def test_a_token_s_own_form_comes_before_its_lower_case_and_the_first_line_before_a_second(tmp_path):
    file = tmp_path / "v.txt"
    file.write_text("us 1 1\nUS 2 2\nUS 3 3\n")
    assert load_word_vectors(file, ["US", "Us"])[0].tolist() == [[2, 2], [1, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2\ncat 3\n", r"v.txt:2: expected a word and 2 numbers; got 2 fields"),
        ("the 1 2\ncat 3 x\n", r"v.txt:2: expected a word and 2 numbers; got 'cat 3 x'"),
        ("the\n", r"v.txt:1: expected a word and 1 numbers; got 1 fields"),
        ("3 2\n", r"v.txt'; it holds no vectors"),
    ],
)
def test_names_the_line_that_is_wrong(tmp_path, text, message):
    file = tmp_path / "v.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_word_vectors(file, ["the", "cat"])


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load_word_vectors(tmp_path / "none.txt", ["a"])
