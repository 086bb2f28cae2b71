from mtl.utils.brief import brief, one_sentence, printable
from mtl.utils.errors import UnknownName, find_name, nearest, unknown_name
from mtl.utils.metrics import less_is_better
from mtl.utils.regular_file import expanded, parse_json, read_json, regular_file

__all__ = [
    "UnknownName",
    "brief",
    "expanded",
    "find_name",
    "less_is_better",
    "nearest",
    "one_sentence",
    "parse_json",
    "printable",
    "read_json",
    "regular_file",
    "unknown_name",
]
