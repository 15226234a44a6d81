"""Gaussians without correlations: how far one is from another, and mixtures of them (Graves 2013, arXiv 1308.0850)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL divergence from Gaussians to others, number by number, in nats; 0 where they agree. All of one shape."""
    distance = (mean - other_mean).square() * torch.exp(-other_log_variance)
    difference = log_variance - other_log_variance
    return 0.5 * (torch.exp(difference) - difference - 1 + distance)


class Belief(NamedTuple):
    """A mixture of K Gaussians over a latent of L numbers, each without correlations."""

    logits: Tensor
    """(..., K) float32: of the weights."""
    means: Tensor
    """(..., K, L) float32."""
    log_variances: Tensor
    """(..., K, L) float32."""

    @property
    def mean(self) -> Tensor:
        """(..., L): what is expected; where all Gaussians agree, bit by bit what they say."""
        first = self.means[..., :1, :]
        offset = (self.logits.softmax(dim=-1)[..., None] * (self.means - first)).sum(dim=-2)
        return first[..., 0, :] + offset

    def log_likelihood(self, latent: Tensor) -> Tensor:
        """(...): the logarithm of the density at `latent` (..., L)."""
        distance = (latent[..., None, :] - self.means).square() * torch.exp(-self.log_variances)
        each = -0.5 * (distance + self.log_variances + math.log(2 * math.pi)).sum(dim=-1)
        return torch.logsumexp(self.logits.log_softmax(dim=-1) + each, dim=-1)
