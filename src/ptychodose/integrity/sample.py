"""A share of the copies, for caches too large to read: which ones, drawn by the seal, so that everybody reads the same,
and numbered, so that all parts together are everything."""

import argparse
import hashlib
import math
import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class Sample:
    """Part `part` (from 1) of the copies, each being `share` of them; `read` and `left` count what was asked for."""

    share: Fraction = Fraction(1)
    part: int = 1
    key: str = ""
    read: int = 0
    left: int = 0

    def takes(self, md5: str) -> bool:
        """Whether the copy of this MD5 is one to read."""
        drawn = int(hashlib.sha256(f"{self.key}:{md5}".encode()).hexdigest()[:16], 16)
        taken = Fraction(drawn, 2**64) // self.share == self.part - 1
        self.read, self.left = self.read + taken, self.left + (not taken)
        return taken

    def line(self) -> str:
        """What was read and what was not."""
        drawn = f"{float(100 * self.share):g} %, part {self.part} of {math.ceil(1 / self.share)}, drawn by the seal"
        return f"sampled ({drawn}): {self.read} copies in cache and remote read, {self.left} NOT read"


def parse(text: str) -> Sample:
    """`10%`, or `10%:3` for the third tenth."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)%(?::(\d{1,9}))?", text, re.ASCII)
    share = Fraction(found[1]) / 100 if found else Fraction(0)
    part = int(found[2] or 1) if found else 0
    if not 0 < share <= 1 or not 1 <= part <= math.ceil(1 / share):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r}: expected a share as 10%, or 10%:3 for the third of its ten parts"
        )
    return Sample(share, part)
