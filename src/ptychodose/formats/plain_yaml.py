"""YAML as DVC reads it (1.2, by the same library), and strictly: what two versions of YAML read differently is refused.

No aliases (a few lines of them expand to gigabytes), no key twice, nothing deep or endless.
"""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from ptychodose.errors import StudyError
from ptychodose.formats.untrusted import DAMAGE, one_line, quoted, read_text, repeated

MAX_YAML = 2**18  # bytes of a YAML file: seconds to parse; dvc.lock has 50 kB
LONGEST_NUMBER = 100  # characters; long ones take quadratic time
DEEPEST = 20
WORDS = re.compile(r"(?i:y|yes|on)|((?i:n|no|off))")  # truth values in YAML 1.1, texts in 1.2
DIGITS = re.compile(r"[-+]?(0o?[0-9_]+|[0-9]*_[0-9_]*)([.:eE].*)?|[-+]?[0-9]+(:[0-9]+)+(\.[0-9]*)?")  # base 8, base 60


class _Composer(Composer):
    """No aliases, nothing deep."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            raise YAMLError("aliases are not accepted; write the value out")
        if self.depth >= DEEPEST:
            raise YAMLError("nested too deeply")
        return super().compose_node(parent, index)


class _Constructor(SafeConstructor):
    """No endless numbers, no key twice."""

    def construct_scalar(self, node: Any) -> Any:
        if len(node.value) > LONGEST_NUMBER and str(node.tag) != "tag:yaml.org,2002:str":
            raise YAMLError(f"a number of {len(node.value)} characters")
        return super().construct_scalar(node)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> Any:
        twice = repeated(key.value for key, _ in node.value if isinstance(key, ScalarNode))
        if twice is not None:
            raise YAMLError(f"key {quoted(twice)} stands there twice; remove one")
        return super().construct_mapping(node, deep)


class _ByHand(_Constructor):
    """Of what people write: no value that means one thing to DVC and another to whoever reads YAML 1.1."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> Any:
        for key, value in node.value:
            if isinstance(value, ScalarNode) and value.style is None and (remedy := _written(value)):
                where = f"line {value.start_mark.line + 1}: {one_line(key.value)}"
                raise YAMLError(f"{where}: {quoted(value.value)} is read in two ways; {remedy}")
        return super().construct_mapping(node, deep)


def _written(node: Node) -> str:
    """How to write a value that versions of YAML read differently; nothing for others."""
    text = node.value
    if word := WORDS.fullmatch(text):
        return f"write {'false' if word[1] else 'true'}, or '{text}' in quotes if a text is meant"
    if not DIGITS.fullmatch(text):
        return ""
    plain = re.fullmatch(r"(-?)\+?0*(\d+)", text.replace("_", ""))
    return f"write a plain decimal number{f', {plain[1]}{plain[2]} say' if plain else ''}, or quotes around a text"


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping. Raises StudyError in one line when absent, unreadable, of more than 256 KiB, with a key
    twice, an alias or a directive, with a value that YAML 1.1 reads otherwise (but in a *.lock, which DVC writes), or
    not a mapping."""
    reader = YAML(typ="safe", pure=True)
    reader.Composer, reader.Constructor = _Composer, _Constructor if Path(path).suffix == ".lock" else _ByHand
    try:
        text = read_text(Path(path), MAX_YAML)
        if re.search("^%", text, re.MULTILINE):
            raise YAMLError("directives (%) are not accepted; remove that line")
        loaded = reader.load(text)
    except FileNotFoundError:
        raise StudyError(f"{path}: not found; restore it with `git restore {path}` or correct the path") from None
    except (*DAMAGE, YAMLError) as error:
        reason = one_line(" ".join(str(error).split()), 200)
        raise StudyError(f"{path}: not readable as YAML ({reason})") from None
    if not isinstance(loaded, dict):
        raise StudyError(f"{path}: expected `key: value` lines, found {type(loaded).__name__}")
    return loaded
