"""Models of pieces as TensorFlow graph operations: whole words, WordPiece, byte pairs and unigrams.

Each model maps strings `[W]` to ragged int32 `[W, (pieces)]` ids and the pieces' first and last-plus-one bytes in their word.
"""

import re
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["BytePairs", "Unigrams", "WholeWords", "WordPieces"]

Pieces = tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]


def _table(keys: Any, values: Any, default: Any) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values)), default)


class WholeWords(tf.Module):
    """Model in which each word is one token, or the unknown token.

    Args:
        model: `"model"` of a tokenizer definition.
    """

    def __init__(self, model: dict[str, Any]):
        super().__init__()
        vocabulary = model["vocab"]
        self._ids = _table(list(vocabulary), list(vocabulary.values()), vocabulary[model["unk_token"]])

    def __call__(self, words: tf.Tensor) -> Pieces:
        ids = self._ids.lookup(words)
        one = tf.RaggedTensor.from_tensor(ids[:, None])
        return one, one.with_values(tf.zeros_like(ids)), one.with_values(tf.strings.length(words))


class WordPieces(tf.Module):
    """WordPiece: the longest pieces first; a word that they do not cover is one unknown token.

    Args:
        model: `"model"` of a tokenizer definition.
    """

    def __init__(self, model: dict[str, Any]):
        import tensorflow_text

        super().__init__()
        vocabulary = model["vocab"]
        tokens = [""] * (max(vocabulary.values()) + 1)
        for token, i in vocabulary.items():
            tokens[i] = token
        self._unknown = vocabulary[model["unk_token"]]
        self._longest = model["max_input_chars_per_word"]
        # A character that occurs in no token represents words that are too long.
        known = set("".join(tokens))
        self._foreign = next(chr(code) for code in range(0x10FFFF, 0, -1) if chr(code) not in known)
        self._pieces = tensorflow_text.FastWordpieceTokenizer(
            tokens,
            suffix_indicator=model["continuing_subword_prefix"],
            max_bytes_per_word=4 * self._longest,
            token_out_type=tf.int32,
            unknown_token=model["unk_token"],
            no_pretokenization=True,
        )

    def __call__(self, words: tf.Tensor) -> Pieces:
        length = tf.strings.length(words, "UTF8_CHAR")
        ids, starts, ends = self._pieces.tokenize_with_offsets(tf.where(length > self._longest, self._foreign, words))
        size = tf.gather(tf.strings.length(words), tf.cast(ids.value_rowids(), tf.int32))
        unknown = ids.values == self._unknown
        starts = tf.where(unknown, 0, tf.cast(starts.values, tf.int32))
        ends = tf.where(unknown, size, tf.cast(ends.values, tf.int32))
        return ids, ids.with_values(starts), ids.with_values(ends)


class BytePairs(tf.Module):
    """Byte-pair encoding: bytes, merged in the order in which the pairs were learned.

    Args:
        model: `"model"` of a tokenizer definition.
    """

    def __init__(self, model: dict[str, Any]):
        super().__init__()
        vocabulary = model["vocab"]
        self._byte_ids = np.array([vocabulary.get(sign, -1) for sign in _signs_of_bytes()], np.int32)
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        self._size = max(vocabulary.values()) + 1
        self._merged = np.array([vocabulary[a + b] for a, b in pairs] or [0], np.int32)
        keys = [vocabulary[a] * self._size + vocabulary[b] for a, b in pairs] or [-1]
        first = {key: rank for rank, key in reversed(list(enumerate(keys)))}
        self._ranks = _table(
            np.array(list(first), np.int64), np.array(list(first.values()), np.int64), tf.constant(_NEVER // 2**32, tf.int64)
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # the loop is slow outside a graph
    def __call__(self, words: tf.Tensor) -> Pieces:
        unique, place = tf.unique(words)
        split = tf.strings.bytes_split(unique)
        codes = tf.reshape(tf.io.decode_raw(split.values, tf.uint8), [-1])
        ids = tf.gather(self._byte_ids, tf.cast(codes, tf.int32))
        word = tf.cast(split.value_rowids(), tf.int32)
        starts = tf.ragged.range(split.row_lengths()).values
        known = ids >= 0
        ids, word, starts = (tf.boolean_mask(v, known) for v in (ids, word, tf.cast(starts, tf.int32)))
        count = tf.size(unique)
        shape = tf.TensorShape([None])
        _, ids, word, starts, ends = tf.while_loop(
            lambda going, *_: going,
            lambda _, ids, word, starts, ends: self._merge(ids, word, starts, ends, count),
            (tf.size(ids) > 0, ids, word, starts, starts + 1),
            (tf.TensorShape([]), shape, shape, shape, shape),
        )
        rows = [tf.RaggedTensor.from_value_rowids(values, word, count) for values in (ids, starts, ends)]
        return tuple(tf.gather(values, place) for values in rows)

    def _merge(self, ids: tf.Tensor, word: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, count: tf.Tensor) -> tuple:
        """Merge, in each word, the first occurrence of its earliest learned pair."""
        rank = self._ranks.lookup(tf.cast(ids[:-1], tf.int64) * self._size + tf.cast(ids[1:], tf.int64))
        score = tf.where(word[:-1] == word[1:], rank * 2**32, _NEVER) + tf.range(tf.size(rank, tf.int64), dtype=tf.int64)
        best = tf.gather(tf.math.unsorted_segment_min(score, word[:-1], count), word[:-1])
        merges = (score == best) & (score < _NEVER)
        new = tf.gather(self._merged, tf.cast(tf.where(merges, rank, 0), tf.int32))
        left, right = tf.concat([merges, [False]], 0), tf.concat([[False], merges], 0)
        padding = tf.zeros([1], tf.int32)
        ids = tf.where(left, tf.concat([new, padding], 0), ids)
        ends = tf.where(left, tf.concat([ends[1:], padding], 0), ends)
        kept = [tf.boolean_mask(values, ~right) for values in (ids, word, starts, ends)]
        return tf.reduce_any(merges), *kept


class Unigrams(tf.Module):
    """Unigram model: the most probable pieces; among equally probable ones, the choice may differ from that in Python.

    Args:
        model: `"model"` of a tokenizer definition.
    """

    def __init__(self, model: dict[str, Any]):
        import tensorflow_text
        from sentencepiece import sentencepiece_model_pb2

        super().__init__()
        proto = sentencepiece_model_pb2.ModelProto()
        for i, (token, score) in enumerate(model["vocab"]):
            byte = model["byte_fallback"] and re.fullmatch("<0x[0-9A-F]{2}>", token)
            kind = proto.SentencePiece.UNKNOWN if i == model["unk_id"] else proto.SentencePiece.BYTE if byte else 1
            proto.pieces.add(piece=token, score=score, type=kind)
        proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
        proto.trainer_spec.byte_fallback = model["byte_fallback"]
        proto.trainer_spec.unk_piece = model["vocab"][model["unk_id"]][0]
        # Texts are normalized already.
        proto.normalizer_spec.add_dummy_prefix = proto.normalizer_spec.remove_extra_whitespaces = False
        self._pieces = tensorflow_text.SentencepieceTokenizer(proto.SerializeToString(), tf.int32)

    def __call__(self, words: tf.Tensor) -> Pieces:
        ids, starts, ends = self._pieces.tokenize_with_offsets(words)
        return ids, *(at.with_values(tf.cast(at.values, tf.int32)) for at in (starts, ends))


_NEVER = 1 << 62


def _signs_of_bytes() -> list[str]:
    """Return the character for each byte in a byte-level vocabulary: printable bytes stay themselves, the others are shifted."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(moved)) for byte in range(256)]
