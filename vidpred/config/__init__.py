"""params.yaml as frozen typed models: unknown, missing or impossible values are errors, named by their place.

What a value means stands under its field. `resources` alone is not tracked by DVC: it says how, not what.
"""

from __future__ import annotations

from vidpred.config.data import FetchParams, FlowParams, SplitParams, TaskParams, TranscodeParams
from vidpred.config.params import (
    EvaluateParams,
    Params,
    RegisterParams,
    ReportParams,
    ResourceParams,
    load_params,
)
from vidpred.config.section import Count, Section, Seed, Share
from vidpred.config.train import Augment, TrainParams, Turn
from vidpred.config.tune import ModelSpace, Space, TrainField, TuneParams, UniformSpace

__all__ = [
    "Augment",
    "Count",
    "EvaluateParams",
    "FetchParams",
    "FlowParams",
    "ModelSpace",
    "Params",
    "RegisterParams",
    "ReportParams",
    "ResourceParams",
    "Section",
    "Seed",
    "Share",
    "Space",
    "SplitParams",
    "TaskParams",
    "TrainField",
    "TrainParams",
    "TranscodeParams",
    "TuneParams",
    "Turn",
    "UniformSpace",
    "load_params",
]
