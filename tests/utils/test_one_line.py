from mtl.utils.one_line import one_line


def test_one_line_cuts_and_is_never_empty():
    assert one_line("a\r\nb\u2028c\x0bd\te") == "a b c d e"
    assert one_line("") == "(empty)"
    assert one_line("x" * 9, most=5) == "xxxx…"
    assert one_line("a\ud800b") == "a?b"  # Half a surrogate pair cannot be written as UTF-8.
