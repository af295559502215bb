"""What a student is taught: to answer, and where asked to think, like its teacher."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

AnswerKind = Literal["logits", "probabilities", "value"]
LOGIT_WEIGHT = 0.1
"""Weight of the distance of the logits themselves: soft targets leave each row's logits free by a constant."""
LEAST_PROBABILITY = 1e-6


def answer_loss(student: Tensor, teacher: Tensor, kind: AnswerKind, temperature: float) -> Tensor:
    """How far a student's answers are from its teacher's, the mean over rows.

    Args:
        student: Logits [n, classes], or values [n, outputs].
        teacher: Logits or log-probabilities [n, classes], or values [n, outputs].
        kind: What the teacher's answers are; log-probabilities where it gives probabilities.
        temperature: Above 1 it brings out what the teacher thinks of the classes that it did not choose.

    Returns:
        For classes the cross-entropy of softened answers (see `soft_target_loss`), and for logits a tenth of their
        squared distance (Ba and Caruana 2014, arXiv 1312.6184) in units of their variance; for values the squared
        distance, linear beyond one unit.
    """
    if kind == "value":
        return functional.smooth_l1_loss(student, teacher)
    loss = soft_target_loss(student, teacher, temperature)
    if kind == "logits":
        loss = loss + LOGIT_WEIGHT * functional.mse_loss(student, teacher) / teacher.var().clamp(min=1e-6)
    return loss


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened answers, times the temperature squared (Hinton et al. 2015, 1503.02531).

    The square keeps gradients of one size whatever the temperature.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, -1.0]])
        >>> float(soft_target_loss(logits, logits, 4.0))
        0.0
    """
    softened = functional.log_softmax(student / temperature, 1)
    target = functional.log_softmax(teacher / temperature, 1)
    return functional.kl_div(softened, target, reduction="batchmean", log_target=True) * temperature**2
