"""The reader: YAML 1.2 scalars, and hostile files that must end in one sentence, soon."""

import contextlib
import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.config.errors import ConfigError
from scheduler.config.load import load_text
from scheduler.config.reader import read_bytes
from scheduler.config.scalars import substitute, typed

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5), ("1.0e-3", 1e-3), (".5", 0.5), ("5.", 5.0), ("-1E+3", -1000.0),
        ("010", 10), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+7", 7),
        ("on", "on"), ("no", "no"), ("yes", "yes"), ("y", "y"), ("1:30", "1:30"),
        ("1_000", "1_000"), ("2020-01-01", "2020-01-01"), ("0b1", "0b1"), ("-", "-"), (".", "."),
        ("true", True), ("FALSE", False), ("tRue", "tRue"), ("~", None), ("", None),
        ("null", None), (".inf", math.inf), ("-.INF", -math.inf), ("inf", "inf"), ("٣", "٣"),
        ("9007199254740992", 2**53),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(text, value):
    assert typed(text) == value
    assert type(typed(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["9007199254740993", "-9007199254740993", "9" * 10_000, "1e999", "0x" + "f" * 5000]
)
def test_numbers_that_a_float_cannot_hold_are_refused(text):
    with pytest.raises(ValueError, match="float"):
        typed(text)


HOSTILE = [
    (LAUGHS, "1:4: anchors are not allowed; remove &a"),
    ("[" * 100_000, "1:33: values are nested deeper than 32 levels"),
    ("{a: " * 100_000, "1:129: values are nested deeper than 32 levels"),
    ("- " * 2**19, "1:65: values are nested deeper than 32 levels"),
    ("? " * 2**19, "1:3: a key must be text; put it in quotes if it holds braces or brackets"),
    ("- a\n" * 2**18, "200000:3: the file holds more than 200000 values"),
    ("[" + "a," * 2**18 + "]", "1:400000: the file holds more than 200000 values"),
    ("a: &x [*x]", "1:4: anchors are not allowed; remove &x"),
    ("!!python/object/apply:os.system [ls]", "1:1: tags are not allowed; "
     "remove 'tag:yaml.org,2002:python/object/apply:os.system'"),
    ('a: "\\0"', "1:4: the text holds a NUL or half a surrogate pair; remove it"),
    ("a: \x07", "1:4: the character U+0007 is not allowed in YAML; remove it"),
    ("a: \ud800", "1:4: byte 0xed is not UTF-8; save the file as UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), HOSTILE, ids=[text[:12] for text, _ in HOSTILE])
def test_a_hostile_file_is_one_sentence_at_once(text, message):
    begun = time.process_time()  # not the clock on the wall, which a busy machine lets run on
    with pytest.raises(ConfigError) as error:
        load_text(text, "e.yaml", environment={})
    assert str(error.value) == f"e.yaml:{message}"
    assert time.process_time() - begun < 10


def test_a_byte_order_mark_is_no_character_and_latin_1_is_located():
    assert read_bytes(b"\xef\xbb\xbfa: 1", "e", {}).data == {"a": 1}
    with pytest.raises(ConfigError, match="e:2:6: byte 0xe9 is not UTF-8"):
        read_bytes(b"a: 1\nb: cl\xe9", "e", {})


def test_each_value_and_key_has_its_place():
    document = read_bytes(b"a:\n  - b: 1\n    c: [2, 3]\n", "e", {})
    assert document.data == {"a": [{"b": 1, "c": [2, 3]}]}
    assert document.keys[("a", 0, "c")] == (3, 5)
    assert document.values[("a", 0, "c", 1)] == (3, 12)
    assert document.values[("a", 0)] == (2, 5)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "x"), ("a${A}b${A}", "axbx"), ("$${A}", "${A}"), ("$A $", "$A $"), ("$$$$", "$$"),
        ("${E:-d}", "d"), ("${U:-}", ""), ("${R}", "${A}"), ("${U:-$x}", "$x"),
        ("a$b{c}", "a$b{c}"),
    ],
)  # fmt: skip
def test_references_are_replaced_once(text, result):
    assert substitute(text, {"A": "x", "E": "", "R": "${A}"}) == result


def only_config_errors(raw):
    try:
        document = read_bytes(raw, "e.yaml", {})
    except ConfigError as error:
        said = str(error)
    else:
        assert set(document.keys) <= set(document.values)
        return
    assert said.startswith("e.yaml")
    assert "\n" not in said


@settings(deadline=None)
@given(st.text())
def test_any_text_is_data_or_one_sentence(text):
    only_config_errors(text.encode("utf-8", "surrogatepass"))


@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,?\n\t \\$~<=.0e", max_size=60))
def test_any_marks_of_yaml_are_data_or_one_sentence(text):
    only_config_errors(text.encode())


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_data_or_one_sentence(raw):
    only_config_errors(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
SECTIONS = st.sampled_from(
    [
        *("name", "parameters", "objective", "objectives", "metrics", "runner", "arms", "trials"),
        *("parameter_constraints", "outcome_constraints", "status_quo", "generation_strategy"),
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(SECTIONS, JSON, max_size=4))
def test_any_data_in_the_sections_is_a_definition_or_sentences(data):
    base = {
        "name": "a",
        "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
        "objective": "-loss",
        "runner": {"command": ["a"]},
    }
    with contextlib.suppress(ConfigError):
        load_text(json.dumps({**base, **data}), "e", environment={})
