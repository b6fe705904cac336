"""Messages: nothing is lost, none begins another, and damage is one sentence."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorabound.certificates.bits import BitReader, BitWriter, pack_symbols, unpack_symbols
from lorabound.certificates.codes import DIRECTIONS, ENTRIES, MOST_STEPS, Floats, Steps, decode, decode_first, encode
from lorabound.errors import AdapterError

SIZES = (12, 20, 5)
N = sum(SIZES)
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)


def steps(numbers, lengths, along):
    return Steps(numbers=np.array(numbers, dtype=np.int64), steps=tuple(lengths), along=along)


def numbers(n):
    small = st.lists(st.integers(-2, 2), min_size=n, max_size=n)
    return small | st.lists(st.integers(-MOST_STEPS, MOST_STEPS), min_size=n, max_size=n)


floats = st.sampled_from([16, 32]).flatmap(
    lambda width: st.lists(st.floats(width=width, allow_nan=False, allow_infinity=False), min_size=N, max_size=N).map(
        lambda values: Floats(values=np.array(values, dtype=np.float32))
    )
)
entries = st.builds(
    lambda chosen, lengths: steps(chosen, lengths, ENTRIES), numbers(N), st.lists(HALVES, min_size=3, max_size=3)
)
directions = st.integers(0, 5).flatmap(
    lambda k: st.builds(lambda chosen, length: steps(chosen, [length], DIRECTIONS), numbers(2**k), HALVES)
)
contents = floats | entries | directions


def same(one, other):
    if isinstance(one, Floats):
        return isinstance(other, Floats) and one.values.tobytes() == other.values.tobytes()
    halves = [np.array(content.steps, dtype=np.float16).tobytes() for content in (one, other)]
    return one.along == other.along and halves[0] == halves[1] and np.array_equal(one.numbers, other.numbers)


@given(contents, st.binary(max_size=9))
def test_decoding_gives_back_what_was_encoded_and_reads_no_further(content, beyond):
    message = encode(content)
    assert same(decode(message, SIZES), content)
    found, used = decode_first(message + beyond, SIZES)
    assert same(found, content)
    assert used == len(message)


def test_no_message_is_the_beginning_of_another():
    random = np.random.default_rng(0)
    messages = {
        encode(Floats(values=random.normal(size=N).astype(random.choice(["f2", "f4"])).astype("f4"))) for _ in range(50)
    }
    for _ in range(500):
        most, k = random.integers(0, 4), random.integers(0, 6)
        lengths = random.integers(1, 3, 3) / 2
        messages.add(encode(steps(random.integers(-most, most + 1, N), lengths, ENTRIES)))
        messages.add(encode(steps(random.integers(-most, most + 1, 2**k), lengths[:1], DIRECTIONS)))
    assert len(messages) > 500
    assert not any(second.startswith(first) for first, second in pairwise(sorted(messages)))
    assert math.fsum(2.0 ** (-8 * len(message)) for message in messages) <= 1  # Kraft


@given(contents, st.data())
def test_what_is_cut_off_or_goes_on_is_refused(content, data):
    message = encode(content)
    kept = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises(AdapterError, match=r"occam.bin is cut off: it ends after \d+ bytes"):
        decode(message[:kept], SIZES, "occam.bin")
    with pytest.raises(AdapterError, match=rf"{len(message) + 1} bytes long, .* ends after {len(message)}"):
        decode(message + b"\0", SIZES, "occam.bin")


def decoded_or_refused(message):
    """What bytes decode to; None where they are refused, in a sentence that says what to do."""
    try:
        return decode(message, SIZES, "occam.bin")
    except AdapterError as error:
        said = str(error)
    assert said.startswith("occam.bin is")
    assert said.endswith("make the certificate again with certify")
    return None


@given(contents, st.data())
def test_a_flipped_bit_is_refused_or_decodes_to_another_adapter(content, data):
    message = bytearray(encode(content))
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = decoded_or_refused(bytes(message))
    assert found is None or same(decode(encode(found), SIZES), found)


@given(st.binary(max_size=40))
def test_any_bytes_decode_or_are_refused(noise):
    found = decoded_or_refused(noise)
    assert found is None or same(decode(encode(found), SIZES), found)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_entries_that_are_no_numbers_have_no_message(bad):
    values = np.ones(N, dtype=np.float32)
    values[3] = bad
    with pytest.raises(AdapterError, match="1 of 37 trained entries are not finite numbers"):
        encode(Floats(values=values))
    with pytest.raises(AdapterError, match="not a finite number of half precision"):
        encode(steps([0], [bad], DIRECTIONS))


def test_the_shortest_number_format_that_holds_all_entries():
    random = np.random.default_rng(0)
    full = random.normal(size=N).astype(np.float32)
    half = full.astype(np.float16).astype(np.float32)
    upper = (full.view(np.uint32) & 0xFFFF0000).view(np.float32)
    sizes = [len(encode(Floats(values=values))) for values in (full, half, upper)]
    assert max(sizes[1:]) < sizes[0] - 1.5 * N  # two bytes less per entry, up to what the coded byte costs


def test_frequent_numbers_are_cheap():
    """At most the entropy of the numbers, (levels - 1)/2 log2 n bits to learn it (Krichevsky & Trofimov), and blocks."""
    random = np.random.default_rng(0)
    for n, share in ((64, 0.5), (4096, 0.05), (100_000, 0.01)):
        symbols = (random.random(n) < share).astype(np.int32) + (random.random(n) < share / 2)
        frequencies = np.bincount(symbols, minlength=3) / n
        entropy = -n * float((frequencies * np.log2(np.maximum(frequencies, 1e-300))).sum())
        packed = pack_symbols(symbols, np.full(3, 4))
        assert np.array_equal(unpack_symbols(packed, n, np.full(3, 4)), symbols)
        assert 8 * len(packed) <= 1.02 * entropy + np.log2(n) + 16


@given(st.integers(0, 2**32 - 1), st.integers(1, 40).flatmap(lambda w: st.tuples(st.integers(0, 2**w - 1), st.just(w))))
def test_whole_numbers(value, fixed):
    writer = BitWriter()
    writer.natural(value)
    writer.fixed(*fixed)
    message = writer.message()
    assert len(message) == -(-(2 * int(math.log2(value + 1)) + 1 + fixed[1]) // 8)
    reader = BitReader(message, "m")
    assert (reader.natural(), reader.fixed(fixed[1]), reader.end()) == (value, fixed[0], len(message))
