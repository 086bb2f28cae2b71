import csv
import io
import random

import pytest

from mtl.data.sources.quoting import writes_quotes


def lines(content):
    return io.StringIO(content, newline="")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("delimiter", ["\t", "|"])
def test_what_writers_write(quoting, delimiter):
    rng = random.Random(0)
    for _ in range(50):
        rows = [["".join(rng.choices('ab" \n,5' + delimiter, k=6)) for _ in "ab"] for _ in range(9)]
        rows.append([f'"{delimiter}', "x"])
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter, quoting=quoting).writerows(rows)
        assert writes_quotes(lines(file.getvalue()), delimiter)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a\tb\n",
        'a\t5" nails\n',
        '"Great movie"\tup\nbad\tdown\n',
        '"Great, movie"\tup\nbad\tdown\n',
        '"so ""so"" la"\tup\n"5" nails\tdown\n',
        '"open\tx\nc\td\n',
        '"so ""so""\n' + "a line\n" * 6000 + '"\n',
        '"only one"\tx\n',
    ],
)
def test_quotes_that_are_part_of_texts(content):
    assert not writes_quotes(lines(content))


def test_a_column_that_always_has_quotes():
    assert writes_quotes(lines('"a"\t1\n"b"\t2\n'))


def test_reading_ends_at_the_first_value_of_another_form():
    file = lines('a "b"\tc\n' + "x\ty\n" * 10)
    assert not writes_quotes(file) and len(file.readlines()) == 10
