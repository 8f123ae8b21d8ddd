"""Which domain of the text each test item is worded like: naive Bayes over tokens, one class for each domain.

The class of an item is the domain d that maximises the sum over its tokens t of log(0.9 n(t, d)/n(d) + 0.1 p(t)), with
n counted over the documents of the text, p(t) = (n(t) + 1)/(n + V) over all domains, and V the size of the vocabulary:
a unigram model of each domain, smoothed by that of the whole text (Jelinek-Mercer; Zhai & Lafferty, A study of
smoothing methods for language models, 2004), with equal priors. Tokens that no domain has count for none; with Laplace
smoothing in each domain they would count for the smallest.

It says nothing about a model: it ties the losses by domain to the items that a difference should show on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tiktoken import Encoding

from equiloss.records.probe import ProbeResult
from pretrain.data.shards import Shards, TokenSplit
from pretrain.probes.instructions import AskedItem
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject

FROM_THE_WHOLE = 0.1
"""The share of the whole text's model in that of a domain."""


@probe("domains")
def of_subject(subject: Subject) -> ProbeResult:
    """The domain of the data that each test item is worded like."""
    return closest_domains(subject.shards.tokenizer, subject.shards, subject.test_items)


def closest_domains(encoding: Encoding, shards: Shards, items: Sequence[AskedItem]) -> ProbeResult:
    """{items: {id or question: domain}}, by the wording of question and answer, against the test text of the shards."""
    split = shards.split("test")
    counts = token_counts(split, len(shards.domains), encoding.n_vocab)
    present = np.flatnonzero(counts.any(axis=1))
    everywhere = (counts.sum(axis=0) + 1) / (counts.sum() + encoding.n_vocab)
    own = counts[present] / counts[present].sum(axis=1, keepdims=True)
    logs = np.log((1 - FROM_THE_WHOLE) * own + FROM_THE_WHOLE * everywhere)
    names = [shards.domains[number] for number in present]
    closest: dict[str, str] = {}
    for item in items:
        ids = encoding.encode_ordinary(f"{item.question} {item.answer}")
        closest[item.key] = names[int(logs[:, ids].sum(axis=1).argmax())]
    return ProbeResult.of({}, items=closest, domains=names)


def token_counts(split: TokenSplit, domains: int, vocabulary: int) -> NDArray[np.float64]:
    """How often each token stands in each domain's documents, ends of text left out (domains, vocabulary)."""
    ends = split.ends.astype(np.int64)
    owner = np.repeat(split.domain.astype(np.int64), ends - split.starts.astype(np.int64))
    kept = np.ones(len(split.tokens), dtype=np.bool_)
    kept[ends - 1] = False
    cells = (owner * vocabulary + np.asarray(split.tokens))[kept]
    return np.bincount(cells, minlength=domains * vocabulary).reshape(domains, vocabulary).astype(np.float64)
