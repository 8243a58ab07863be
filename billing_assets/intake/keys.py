"""Keys that tell calls apart: equal on every machine, in every version of every library.

The function is defined here and not borrowed: a library's fast hash may change with its version,
and a cryptographic digest costs more than reading the file.
"""

import polars as pl

_BLOCK = 8
_ODD = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_WORD = (1 << 64) - 1


def stable_key(text: pl.Series) -> pl.Series:
    """A 63-bit key of each text; null of null.

    The UTF-8 bytes are cut into 8-byte little-endian words, the last filled up with zeros. Word
    n (from 1), xor n times 0x9E3779B97F4A7C15, goes through the finaliser of SplitMix64; the sum
    over all words and the length, taken modulo 2^64, goes through it once more and loses its
    lowest bit.
    """
    length = text.str.len_bytes().cast(pl.UInt64)
    longest = length.max()
    blocks = -(-longest // _BLOCK) if isinstance(longest, int) else 0
    padded = text.str.pad_end(blocks * _BLOCK, "\0").cast(pl.Binary)
    total = length
    for n in range(blocks):
        word = padded.bin.slice(n * _BLOCK, _BLOCK).bin.reinterpret(
            dtype=pl.UInt64, endianness="little"
        )
        present = (length > n * _BLOCK).cast(pl.UInt64)
        total = total + _mixed(word ^ _constant((n + 1) * _ODD & _WORD)) * present
    return (_mixed(total) // 2).cast(pl.Int64).alias(text.name)


def _mixed(word: pl.Series) -> pl.Series:
    """The finaliser of SplitMix64; integers of 64 bits wrap."""
    word = (word ^ (word // (1 << 30))) * _constant(_MIX[0])
    word = (word ^ (word // (1 << 27))) * _constant(_MIX[1])
    return word ^ (word // (1 << 31))


def _constant(value: int) -> pl.Series:
    return pl.Series([value], dtype=pl.UInt64)
