"""Hostile files out of good ones: bits flipped, ends cut off, parts swapped or repeated, lengths that lie."""

import numpy as np

# Lengths and counts that overflow something: empty, 127, 2³¹ − 1, 2³¹, 2⁶³, an endless varint.
_VARINTS = [b"\x00", b"\x7f", b"\xff\xff\xff\xff\x07", b"\x80\x80\x80\x80\x08", b"\xff" * 9 + b"\x01", b"\xff" * 12]


def mutants(originals, count, seed):
    """``count`` pairs of a number and the bytes of a damaged file; the same for the same seed, each drawn on its own.

    Args:
        originals: the good files.
        count: how many.
        seed: of the damage.
    """
    for number in range(count):
        yield number, mutant(originals, number, seed)


def mutant(originals, number, seed):
    """The damaged file of one number."""
    rng = np.random.default_rng([seed, number])
    data = originals[number % len(originals)]
    for _ in range(int(rng.integers(1, 4))):
        data = _KINDS[int(rng.integers(len(_KINDS)))](data, rng, originals)
    return data


def _place(data, rng):
    return int(rng.integers(len(data) + 1))


def _part(data, rng, longest=200):
    start = _place(data, rng)
    return start, min(len(data), start + int(rng.integers(1, longest)))


def _flip_bits(data, rng, _):
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if changed:
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _truncate(data, rng, _):
    return data[: _place(data, rng)]


def _splice(data, rng, originals):
    other = originals[int(rng.integers(len(originals)))]
    (start, end), (first, last) = _part(data, rng), _part(other, rng)
    return data[:start] + other[first:last] + data[end:]


def _repeat(data, rng, _):
    start, end = _part(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 40)) + data[end:]


def _delete(data, rng, _):
    start, end = _part(data, rng, 40)
    return data[:start] + data[end:]


def _insert_noise(data, rng, _):
    at = _place(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 100))) + data[at:]


def _lie_about_a_length(data, rng, _):
    """Replace the byte after a tag of a length-delimited field."""
    tags = np.flatnonzero(np.frombuffer(data, np.uint8) & 7 == 2)
    if not len(tags):
        return data
    at = int(rng.choice(tags)) + 1
    return data[:at] + _VARINTS[int(rng.integers(len(_VARINTS)))] + data[at + 1 :]


def _overwrite(data, rng, _):
    """A number becomes NaN, infinite, huge or negative."""
    start, _ = _part(data, rng)
    values = np.array([np.nan, np.inf, -1.0, 1e38, 1e-45], np.float32)
    return data[:start] + values[int(rng.integers(len(values)))].tobytes() + data[start + 4 :]


def _replace_digit(data, rng, _):
    """A number of the metadata changes."""
    digits = np.flatnonzero((np.frombuffer(data, np.uint8) >= ord("0")) & (np.frombuffer(data, np.uint8) <= ord("9")))
    if not len(digits):
        return data
    at = int(rng.choice(digits))
    new = [b"-", b"9", b"0", b"e", b"}", b'"', b"\x1b", b"[", b"1e999", b"\xff"][int(rng.integers(10))]
    return data[:at] + new + data[at + 1 :]


_KINDS = [
    _flip_bits,
    _flip_bits,
    _truncate,
    _splice,
    _repeat,
    _delete,
    _insert_noise,
    _lie_about_a_length,
    _overwrite,
    _replace_digit,
]
