"""tiktoken's encodings, for texts with runs of white space of any length."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Set
from typing import TYPE_CHECKING, Literal

import numpy as np
import tiktoken
from typing_extensions import override

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONG = 1 << 15
"""A run of white space that is left to tiktoken, whose regular expressions keep a state per character."""
_WHITE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_RUN = re.compile(rf"[{_WHITE}]{{{LONG},}}(?=[^{_WHITE}])")


class LongTextEncoding(tiktoken.Encoding):
    """An encoding by GPT-2's pattern: the same ids as tiktoken's, where that ends in a stack overflow too.

    The pattern cuts a run of white space before its last character, which belongs to the word after it: a text can be
    cut there, and before the run, and its parts encoded one by one.
    """

    @override
    def encode_ordinary(self, text: str) -> list[int]:
        """See tiktoken."""
        return [id for part in _parts(text) for id in super(LongTextEncoding, self).encode_ordinary(part)]

    @override
    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | Set[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> NDArray[np.uint32]:
        """See tiktoken."""
        encode = super().encode_to_numpy
        arrays = [
            encode(part, allowed_special=allowed_special, disallowed_special=disallowed_special)
            for part in _parts(text)
        ]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _parts(text: str) -> Iterator[str]:
    """The text, cut around long runs of white space."""
    half, place = LONG // 2, 0
    long = any(text[start : start + half].isspace() for start in range(0, len(text) - half, half))
    for run in _RUN.finditer(text) if long else ():
        for end in (run.start(), run.end() - 1):
            if end > place:
                yield text[place:end]
                place = end
    yield text[place:]
