"""The stages of dvc.yaml: thin scripts, run as `python -m stages.<name>` from the root of the project."""
