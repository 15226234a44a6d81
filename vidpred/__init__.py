"""vidpred: from a folder of GIFs and videos to a registered model that predicts the next frames."""

__version__ = "0.1.0"
