import csv as standard
import re

import pytest

from mtl.data import csv, tsv
from mtl.data.example import Example


def read(path, content, source=csv, **options):
    path = path / "data.csv"
    path.write_bytes(content.encode())
    return list(source(path, **{"fractions": None, **options}).examples())


def test_quotes(tmp_path):
    content = 'text,label\r\n"a, b","say ""hi"""\r\n"two\nlines",x\r\n\r\nplain,\r\n'
    assert read(tmp_path, content, label="label") == [
        Example("a, b", None, None, {"label": 'say "hi"'}),
        Example("two\nlines", None, None, {"label": "x"}),
        Example("plain"),
    ]


def test_a_record_stands_where_its_first_line_is(tmp_path):
    """Lines 2 to 4 are one record, line 5 is blank; the record on lines 6 and 7 has a column too many."""
    with pytest.raises(ValueError, match=re.escape("data.csv, line 6: expected 2 columns, got 3; mend the record")):
        read(tmp_path, 'text,label\n"a\n\nb",x\n\n"c\nd",y,z\n')


def test_pairs_and_several_labels(tmp_path):
    (example,) = read(tmp_path, "a,b,n,m\nx,y,1,2\n", text=("a", "b"), label={"score": "n", "mark": 3}, convert={"score": float})
    assert example == Example("x", "y", None, {"score": 1.0, "mark": "2"})


def test_without_header(tmp_path):
    assert read(tmp_path, "x|1\n", text=0, label=1, header=False, delimiter="|") == [Example("x", None, None, {"1": "1"})]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,labels\n", {"label": "label"}, "Unknown column in .*data.csv, line 1: 'label'; did you mean 'labels'"),
        ("text;mood\n", {}, "line 1: expected a column 'text', got one column 'text;mood'; give delimiter=';'"),
        ("text,text\n", {}, "line 1: expected one column 'text', got 2; name columns by number"),
        ("a,b\n", {"text": 2}, "line 1: expected a column 2, got 2 columns; columns count from 0"),
        ("a,b\n", {"text": -1}, "line 1: expected a column -1, got 2 columns; columns count from 0"),
        ("a,b\n", {"header": False}, "line 1: expected column numbers where header=False, got 'text'; count columns from 0"),
        ("", {}, "data.csv: expected a header, got an empty file"),
        ("text||mood\n", {"delimiter": "||"}, "Expected a delimiter of one character, got '||'; read other files with records"),
    ],
)
def test_columns_that_do_not_exist(tmp_path, content, options, message):
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, content, on_error=on_error, **options)


@pytest.mark.parametrize("first", [True, False])
def test_a_malformed_record_decides_nothing(tmp_path, first):
    good, bad = "a,x\nb,y\nc,x\n", "d\n"
    content = bad + good if first else good + bad
    options = {"text": 0, "header": False}
    assert [example.text for example in read(tmp_path, content, on_error="skip", **options)] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=f"line {1 if first else 4}: expected 2 columns, got 1; "):
        read(tmp_path, content, **options)


def test_of_two_records_the_one_with_the_columns_counts(tmp_path):
    options = {"text": 0, "label": {"mood": 1}, "header": False, "on_error": "skip"}
    assert [example.text for example in read(tmp_path, "a\nb,up\n", **options)] == ["b"]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("header", ["text", "text,label,x,y", "table of 2020"])
def test_a_malformed_header(tmp_path, header, on_error):
    """One record has as many columns as the header."""
    content = f"{header}\na,x,1\nb,y,1\n{','.join('q' * (header.count(',') + 1))}\nc,x,1\n"
    with pytest.raises(ValueError, match=r"data.csv, line 1: expected a header with 3 columns, as most records have, got .*mend"):
        read(tmp_path, content, on_error=on_error)


@pytest.mark.parametrize("source", [csv, tsv])
@pytest.mark.parametrize("content", ["text\n", "text\n\n\r\n", "text,label\n"])
def test_a_header_alone(tmp_path, content, source):
    content = content if source is csv else content.replace(",", "\t")
    with pytest.raises(ValueError, match="data.csv: expected examples, got none .a header, comments or blank lines only.; fill"):
        read(tmp_path, content, source)


@pytest.mark.parametrize(("sign", "remedy"), [(",", "read the file with csv"), (";", "read the file with csv and delimiter=';'")])
@pytest.mark.parametrize("options", [{}, {"text": 1, "header": False}])
def test_other_delimiters_in_a_tsv(tmp_path, sign, remedy, options):
    with pytest.raises(ValueError, match=f"line 1: expected a column .*, got .*; {remedy}[.]"):
        read(tmp_path, f"text{sign}mood\na{sign}up\n", tsv, **options)


QUOTED = [["text", "mood"], ['say "hi"', "up"], ["a\tb", "down"], ["two\nlines", "up"], ["plain", ""], ["a, b", "up"]]


@pytest.mark.parametrize("quoting", [standard.QUOTE_MINIMAL, standard.QUOTE_ALL, standard.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_tsv_as_csv_writers_write_it(tmp_path, quoting, end, header):
    rows = QUOTED if header else QUOTED[1:]
    with open(tmp_path / "a.tsv", "w", newline="") as file:
        standard.writer(file, delimiter="\t", quoting=quoting, lineterminator=end).writerows(rows)
    options = {"text": "text", "label": "mood"} if header else {"text": 0, "label": {"mood": 1}, "header": False}
    examples = list(tsv(tmp_path / "a.tsv", fractions=None, **options).examples())
    assert [[e.text, e.labels.get("mood", "")] for e in examples] == QUOTED[1:]


def test_tsv_keeps_quotes_that_no_writer_put(tmp_path):
    content = 'text\tmood\n"Great, movie"\tup\n"so ""so"" la"\tup\n5" nails\tdown\n'
    assert [e.text for e in read(tmp_path, content, tsv)] == ['"Great, movie"', '"so ""so"" la"', '5" nails']


@pytest.mark.parametrize("source", [csv, tsv])
def test_weights(tmp_path, source):
    content = "text,w\na,0.5\nb,0\nc,2e1\n" if source is csv else "text\tw\na\t0.5\nb\t0\nc\t2e1\n"
    assert [example.weight for example in read(tmp_path, content, source, weight="w")] == [0.5, 0.0, 20.0]


@pytest.mark.parametrize("broken", ['"a" b', '"never closed'])
def test_quotes_that_do_not_parse(tmp_path, broken):
    with pytest.raises(ValueError, match=r"data.csv, line 3: expected a record with balanced quotes, got .*; double the quotes"):
        read(tmp_path, f"text\nfine\n{broken}\n")
    assert read(tmp_path, f"text\nfine\n{broken}\n", on_error="skip") == [Example("fine")]


def test_a_stray_quote_costs_one_record(tmp_path):
    """Line 2 never closes its quote; line 504 closes one too early, on its second line; both are read on from the next line."""
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"stray,a\n' + "".join(f"row {i},b\n" for i in range(500)) + '"two\nlines" x,c\nlast,d\n')
    source = csv(path, label="label", fractions=None, on_error="skip")
    examples = list(source.examples())
    assert [example.text for example in examples[:500]] == [f"row {i}" for i in range(500)]
    assert [example.place for example in examples[:2]] == [f"{path}, line 3", f"{path}, line 4"]
    assert [(example.text, example.place) for example in examples[500:]] == [
        ('lines" x', f"{path}, line 504"),
        ("last", f"{path}, line 505"),
    ]
    assert source.skipped["train"] == 2


def test_a_quote_that_is_never_closed_costs_one_record(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text\n"never closed\n' + "a line\n" * 40_000)
    source = csv(path, fractions=None, on_error="skip")
    assert [example.text for example in source.examples()] == ["a line"] * 40_000
    assert source.skipped["train"] == 1


@pytest.mark.parametrize("quote", ["", '"'])
def test_values_may_be_long(tmp_path, quote):
    (example,) = read(tmp_path, f"text,label\n{quote}{'long ' * 40_000}{quote},x\n", label="label")
    assert len(example.text) == 200_000 and example.labels == {"label": "x"}


def test_places_are_the_first_lines_of_records(tmp_path):
    examples = read(tmp_path, 'text\n"two\nlines"\n\nlast\n', segment=str.split)
    assert [example.place for example in examples] == [f"{tmp_path / 'data.csv'}, line {number}" for number in (2, 5)]


def test_tsv_keeps_quotes(tmp_path):
    assert read(tmp_path, 'text\tlabel\n"5" nails\t"\n', tsv, label="label") == [Example('"5" nails', None, None, {"label": '"'})]
    assert read(tmp_path, 'text\n"a\tb"\n', tsv, quoting=standard.QUOTE_MINIMAL) == [Example("a\tb")]


def test_segment(tmp_path):
    (example,) = read(tmp_path, "text\nin Rome\n", segment=str.split)
    assert example.words == ((0, 2), (3, 7))


def test_a_function_among_the_options_leaves_no_fingerprint(tmp_path):
    (tmp_path / "a.csv").write_text("text\n")
    assert csv(tmp_path / "a.csv").fingerprint
    assert csv(tmp_path / "a.csv", segment=str.split).fingerprint is None
    assert csv(tmp_path / "a.csv", label="x", convert={"x": float}).fingerprint is None
