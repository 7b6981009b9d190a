"""Hostile YAML and JSON by design: a name to the change of a valid file and the words of its refusal, a pattern."""

import re
from pathlib import Path

from hostile_hdf5 import Change


def text(old: str, new: str) -> Change:
    """The first match of a pattern replaced."""

    def change(path: Path) -> None:
        before = path.read_text(encoding="utf-8")
        assert re.search(old, before)
        path.write_text(re.sub(old, lambda _: new, before, count=1), encoding="utf-8")

    return change


def raw(data: bytes) -> Change:
    return lambda path: path.write_bytes(data)


def dose(value: str) -> Change:
    return text(r"dose: \d+\n", f"dose: {value}\n")


def size(value: str) -> Change:
    return text(r'"bytes": \d+', f'"bytes": {value}')


def output(path: str) -> Change:
    return text("data/out.txt", path)


def _laughs() -> bytes:
    """Ten lines that expand to 9^10 words."""
    lines = ["a: &a [ha, ha]"]
    for above, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 9)}]")
    return "\n".join(lines).encode()


PARAMS: dict[str, tuple[Change, str]] = {
    "a billion laughs": (raw(_laughs()), "aliases"),
    "an alias of itself": (raw(b"a: &a [*a]\n"), "aliases"),
    "a program": (raw(b"a: !!python/object/apply:os.system ['touch evil']\n"), "python/object"),
    "a new object": (raw(b"a: !!python/object/new:pathlib.Path [evil]\n"), "python/object"),
    "brackets": (raw(b"a: " + b"[" * 5000), "maximum depth"),
    "keys of keys": (raw(b"? " * 3000 + b"a"), "maximum depth"),
    "text that is no UTF-8": (raw(b"a: \xff\xfe\n"), "utf-8"),
    "a NUL": (raw(b"a: \0\n"), "not readable"),
    "a list": (raw(b"- a\n"), "key: value"),
    "more than 256 KiB": (raw(b"a: 1 # " + b"x" * 2**18), "larger than 0.25 MiB"),
    "a name of many letters": (raw(b"x" * 10**5 + b": 1\n"), "not readable"),
    "a name that clears the screen": (raw(b'"\\e[2J\\n": 1\n'), r"unknown key '\\x1b\[2J\\n'"),
    "a key twice": (text(r"dose: \d+\n", "dose: 1\ndose: 2\n"), 'duplicate key "dose"'),
    "a key twice in a section": (text("  dense: 0.7\n", "  dense: 0.7\n  dense: 0.3\n"), 'duplicate key "dense"'),
    "a base of two lines": (text(r"base: .*\n", 'base: "a\\nb.npz"\n'), "one line"),
    "a choice that is a list": (text("loss: truth", "loss: [truth]"), "not one of"),
    "a section that is endless": (
        text(r"\nseeds:\n", "\nseeds: " + "x" * 9000 + "\nsoods:\n"),
        "seeds: expected|unknown",
    ),
    "10^5000": (dose("1" + "0" * 5000), "5001 characters"),
    "10^90": (dose("1" + "0" * 90), "outside"),
    "10^400 as text": (dose('"1e400"'), "finite"),
    "an endless hexadecimal": (dose("0x" + "f" * 9000), "9002 characters"),
    "base 60": (dose("1:" * 3000 + "1"), "line [0-9]+: dose: .* is read in two ways"),
    "zeros without end": (dose("0" * 9000 + "5"), "two ways"),
    "a version of its own": (raw(b"%YAML 1.1\n---\na: 010\n"), "directive"),
    "infinity": (dose(".inf"), "finite"),
    "NaN": (dose(".nan"), "finite"),
    "below zero": (dose("-5"), "outside"),
    "a day that is none": (dose("2024-99-99"), "not readable"),
    "bits without digits": (dose("0b_"), "not readable"),
    "half a truth": (dose("!!bool x"), "not readable"),
    "no time": (dose("!!timestamp x"), "not readable"),
    "bytes": (dose("!!binary ="), "not a finite"),
}
BROKEN: dict[str, tuple[Change, str]] = {
    "nothing": (raw(b""), "char 0"),
    "a list": (raw(b"[]"), "schema|lists"),
    "no UTF-8": (raw(b"\xff"), "utf-8"),
    "17 MiB": (raw(b" " * (17 * 2**20)), "larger"),
    "half": (raw(b'{"schema": 1'), "delimiter"),
    "a value of brackets": (text('"', '"a": ' + "[" * 10**5 + ', "'), "deep"),
}
MANIFEST: dict[str, tuple[Change, str]] = {
    **BROKEN,
    "a size that is NaN": (size("NaN"), "NaN"),
    "a size without end": (size("1e999"), "no finite number"),
    "a size of 5000 digits": (size("9" * 5000), "digits"),
    "a size below zero": (size("-1"), "bytes of"),
    "a size that is true": (size("true"), "bytes of"),
    "half a byte": (size("0.5"), "bytes of"),
    "a size twice": (size('1, "bytes": 2'), "twice"),
    "a schema that is true": (text('"schema": 1', '"schema": true'), "schema"),
    "another stage": (text('"demo"', '"else"'), "stage"),
    "an absolute path": (output("/etc/passwd"), "inside"),
    "a path that climbs": (output("data/../../x"), "inside"),
    "a path of another system": (output("data\\\\x"), "inside"),
    "a path of two lines": (output("data/a\\nb"), "inside"),
    "half a letter": (output("\\ud800"), "inside"),
    "a short digest": (text(r'"sha256": "\w+', '"sha256": "abc'), "SHA256"),
    "outputs that are no list": (text(r'"outputs": \[', '"outputs": {}, "x": ['), "list"),
}
TRAINING: dict[str, tuple[Change, str]] = {
    **BROKEN,
    "an absolute bundle": (text("data/bundles/dense", "/tmp"), "inside"),
    "a bundle that climbs": (text("data/bundles", ".."), "inside"),
    "a digest of capitals": (text("0f0f", "0F0F"), "SHA256"),
    "a size that is a text": (text("35894", '"x"'), "size"),
    "a group size below zero": (text('"C": 4', '"C": -4'), "C is"),
    "an arm of two lines": (text('"dense"', '"a\\nb"'), "arm"),
    "jobs that are no list": (text(r'"jobs": \[', '"jobs": 3, "x": ['), "lists"),
    "a loss that is NaN": (text("-2.25", "NaN"), "NaN"),
    "no reason": (text("reason", "season"), "reason"),
    "an arm twice": (text('"status"', '"arm": "dense", "status"'), "twice"),
}
