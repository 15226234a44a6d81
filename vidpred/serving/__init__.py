"""Using a trained model: `predictor` on frames in memory, `predict` on files."""
