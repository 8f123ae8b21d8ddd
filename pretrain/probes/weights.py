"""The weights themselves: norms, stable rank of each matrix, anisotropy of the token embedding.

Stable rank: ||W||_F² / sigma_max². Anisotropy: the mean cosine between two different tokens' embeddings, which for n
unit vectors u with mean m is (n ||m||² - 1)/(n - 1). Degenerate output representations in small models: Godey et al.
2024 (arXiv 2404.07647). Descriptive only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equiloss.records.probe import Measure, ProbeResult
from pretrain.model.decoder import GPT
from pretrain.probes.registry import probe
from pretrain.probes.subject import Subject


@probe("weights")
def of_subject(subject: Subject) -> ProbeResult:
    """Norms, stable ranks and anisotropy of the base model."""
    return weight_geometry(subject.decoder)


@torch.no_grad()
def weight_geometry(model: GPT) -> ProbeResult:
    """Norms over all parameters, stable ranks and the embedding's anisotropy."""
    matrices = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    ranks = {name: stable_rank(p) for name, p in matrices.items()}
    total = sum(float(p.float().pow(2).sum()) for p in model.parameters()) ** 0.5
    blocks = [rank for name, rank in ranks.items() if name.startswith("blocks.")]
    measures = {
        "norm": Measure(value=total),
        "stable_rank": Measure(value=sum(blocks) / max(1, len(blocks)), n=len(blocks)),
        "anisotropy": Measure(value=anisotropy(model.token_embedding.weight), unit="mean cosine"),
        "head_stable_rank": Measure(value=stable_rank(model.head_weight)),
    }
    return ProbeResult.of(measures, stable_ranks=ranks)


def stable_rank(matrix: Tensor) -> float:
    """||W||_F² / sigma_max² of a matrix: 1 for rank one, n for the identity of size n."""
    values = torch.linalg.svdvals(matrix.float())
    return float(values.pow(2).sum() / values[0].pow(2).clamp(min=1e-30))


def anisotropy(vectors: Tensor) -> float:
    """The mean cosine between two different rows (n, C)."""
    unit = torch.nn.functional.normalize(vectors.float(), dim=1)
    n = len(unit)
    return float((n * unit.mean(dim=0).pow(2).sum() - 1) / (n - 1))
