"""Read YAML into the frozen dataclasses of `settings`: typed, range-checked, unknown keys refused by name."""

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import DAMAGE, one_line, quoted, read_text
from ptychodose.study.settings import Params

MAX_YAML = 2**18  # bytes of a YAML file: seconds to parse; dvc.lock has 50 kB
LONGEST_NUMBER = 100  # characters; Python takes quadratic time over long ones
DEEPEST = 20
WORDS = re.compile(r"(?i:y|yes|on)|((?i:n|no|off))")  # truth values in YAML 1.1, texts in 1.2
DIGITS = re.compile(r"[-+]?(0o?[0-9_]+|[0-9]*_[0-9_]*)([.:eE].*)?|[-+]?[0-9]+(:[0-9]+)+(\.[0-9]*)?")  # base 8, base 60
KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text of one line"}


def read_section(cls: type, values: Any, where: str) -> Any:
    """Build the frozen dataclass `cls` from a YAML mapping.

    `where` names the section in messages. Numbers typed as text ("1e4") count as numbers; an integer field takes
    10000.0. Raises StudyError naming file section, key and value for unknown, missing, mistyped or out-of-range
    entries.
    """
    named = getattr(cls, "named", {})
    if isinstance(values, str) and values in named:
        return named[values]
    if not isinstance(values, dict):
        words = "".join(f" or {name}" for name in named)
        raise StudyError(f"{where}: expected a section of `key: value` lines{words}, found {quoted(values)}")
    mark = ": " if where.endswith((".yaml", ".yml")) else "."  # file: section.key
    known, hints = {item.name: item for item in fields(cls)}, get_type_hints(cls)
    for key in values:
        if key not in known:
            raise StudyError(f"{where}: unknown key {quoted(key)}; {_suggest(key, known)}")
    for name, item in known.items():
        if name not in values and item.default is MISSING:
            raise StudyError(f"{where}{mark}{name}: missing; add it (see the committed params.yaml)")
    return cls(**{n: _convert(hints[n], v, f"{where}{mark}{n}", known[n].metadata) for n, v in values.items()})


def _suggest(key: object, names: Iterable[object]) -> str:
    (near,) = difflib.get_close_matches(one_line(key), [str(name) for name in names], n=1, cutoff=0.0)
    return f"did you mean {near!r}?"


def _convert(kind: Any, value: Any, where: str, metadata: Mapping[str, Any]) -> Any:
    if is_dataclass(kind):
        return read_section(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is types.UnionType:  # int | None
        if value is None:
            return None
        kind = get_args(kind)[0]
    choices = metadata.get("choices")
    if choices and value not in choices:
        names = ", ".join(map(str, choices))
        raise StudyError(f"{where}: {quoted(value)} is not one of {names}; {_suggest(value, choices)}")
    try:
        made = _typed(kind, value)
    except (TypeError, ValueError, OverflowError):
        raise StudyError(f"{where}: {quoted(value)} is not {KINDS[kind]}") from None
    low, high, above, below = metadata.get("bounds", (made, made, False, False))
    if not low <= made <= high or (above and made == low) or (below and made == high):
        span = f"{'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
        raise StudyError(f"{where}: {made:g} is outside {span}")
    return made


def _typed(kind: type, value: Any) -> Any:
    """`value` as one of KINDS; TypeError, ValueError or OverflowError where it is none."""
    if kind is bool:
        good = isinstance(value, bool)
    elif kind is str:
        good = isinstance(value, str) and value.isprintable() and 0 < len(value) <= 1000
    else:
        number = float(value)
        good = math.isfinite(number) and not isinstance(value, bool) and (kind is float or number.is_integer())
        value = value if isinstance(value, kind) else kind(number)
    if not good:
        raise ValueError
    return value


class _Composer(Composer):
    """No aliases: a few lines of them expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            raise YAMLError("aliases are not accepted; write the value out")
        return super().compose_node(parent, index)


class _Constructor(SafeConstructor):
    """No endless numbers."""

    def construct_scalar(self, node: Any) -> Any:
        if len(node.value) > LONGEST_NUMBER and str(node.tag) != "tag:yaml.org,2002:str":
            raise YAMLError(f"a number of {len(node.value)} characters")
        return super().construct_scalar(node)


class _ByHand(_Constructor):
    """Of what people type: no value that is one thing in YAML 1.2, to DVC, and another in 1.1, to many others."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> Any:
        for key, value in node.value:
            if isinstance(value, ScalarNode) and value.style is None and (remedy := _in_one_way(value.value)):
                where = f"line {value.start_mark.line + 1}: {one_line(key.value, 40)}"
                raise YAMLError(f"{where}: {quoted(value.value, 20)} is read in two ways; write {remedy}")
        return super().construct_mapping(node, deep)


def _in_one_way(text: str) -> str:
    """How to write an unquoted value that versions of YAML read differently; nothing for others."""
    if word := WORDS.fullmatch(text):
        return f"{'false' if word[1] else 'true'}, or '{text}' in quotes if a text is meant"
    if not DIGITS.fullmatch(text):
        return ""
    plain = re.fullmatch(r"(-?)\+?0*(\d{1,20})", text.replace("_", ""))
    return f"a plain decimal number{f', {plain[1]}{plain[2]} say' if plain else ''}, or quotes around a text"


def _parsed(text: str, by_hand: bool) -> Any:
    """YAML 1.2 by the library that DVC reads params.yaml with, so that 05000, 1:30 and yes are to the study what they
    are to DVC; plain YAML only. YAMLError for anything else, keys that stand there twice among it."""
    reader = YAML(typ="safe", pure=True)
    reader.Composer, reader.max_depth = _Composer, DEEPEST
    reader.Constructor = _ByHand if by_hand else _Constructor
    if by_hand and re.search("^%", text, re.MULTILINE):
        raise YAMLError("a directive (%); remove that line, which changes what numbers mean")
    return reader.load(text)


def load_yaml(path: Path | str, by_hand: bool = False) -> dict[str, Any]:
    """Read a YAML mapping. Raises StudyError in one line when absent, unreadable, of more than 256 KiB, with a key
    twice or an alias, or not a mapping; of a file typed `by_hand` also for 05000, 1:30, yes, 1_000 and the like, which
    versions of YAML read differently, with the line and how to write it."""
    try:
        loaded = _parsed(read_text(Path(path), MAX_YAML), by_hand)
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; restore it with `git restore {path}` or correct the path") from None
    except (*DAMAGE, YAMLError) as error:
        reason = one_line(" ".join(str(getattr(error, "problem", None) or error).split()), 200)
        raise StudyError(f"{path}: not readable as YAML ({reason})") from None
    if not isinstance(loaded, dict):
        raise StudyError(f"{path}: expected `key: value` lines, found {type(loaded).__name__}")
    return loaded


def load(path: Path | str = "params.yaml") -> Params:
    """The study's parameters. Raises StudyError (one line: section.key, value, remedy) for anything not valid."""
    return read_section(Params, load_yaml(path, by_hand=True), str(path))


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    if not isinstance(value, dict):
        return {name: value} if name else {}
    return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}".lstrip(".")).items()}
