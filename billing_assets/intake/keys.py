"""Keys that tell calls apart: equal on every machine, in every version of every library.

The function is defined here and not borrowed: a library's fast hash may change with its version,
and a cryptographic digest costs more than reading the file.
"""

import numpy as np
import polars as pl

_BLOCK = 8
_ODD = 0x9E3779B97F4A7C15
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_WORD = (1 << 64) - 1


def stable_key(text: pl.Series) -> pl.Series:
    """A 63-bit key of each text; null of null.

    The UTF-8 bytes are cut into 8-byte little-endian words, the last filled up with zeros. Word
    n (from 1), xor n times 0x9E3779B97F4A7C15, goes through the finaliser of SplitMix64; the sum
    over all words and the length, taken modulo 2^64, goes through it once more and loses its
    lowest bit.
    """
    filled = text.fill_null("")
    length = filled.str.len_bytes().to_numpy()
    blocks = -(-int(length.max()) // _BLOCK) if len(text) else 0
    width = blocks * _BLOCK
    # padding counts characters: what is longer in bytes is cut at the longest text's own end
    padded = filled.str.pad_end(width, "\0").cast(pl.Binary).bin.slice(0, width).rechunk()
    total = length.astype(np.uint64)
    if blocks:
        data = padded.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
        words = np.frombuffer(data, "<u8", len(text) * blocks).reshape(len(text), blocks)
        for n in range(blocks):
            word = words[:, n] ^ np.uint64((n + 1) * _ODD & _WORD)
            total += np.where(length > n * _BLOCK, _mixed(word), np.uint64(0))
    key = pl.Series(text.name, (_mixed(total) >> np.uint64(1)).astype(np.int64))
    if not text.null_count():
        return key
    return pl.select(pl.when(text.is_not_null()).then(key)).to_series().alias(text.name)


def _mixed(word: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64; integers of 64 bits wrap."""
    word = (word ^ (word >> _SHIFTS[0])) * _MIX[0]
    word = (word ^ (word >> _SHIFTS[1])) * _MIX[1]
    return word ^ (word >> _SHIFTS[2])
