"""The one exception that people see: a sentence that says what failed and what to do; and advice that recurs."""


class UserError(Exception):
    """Something the user can mend. Printed as one line, without a traceback, and the exit code is 1."""


def restore(path: object, stage: str) -> str:
    """What to do about an output of a stage that is damaged: DVC's cache may have it whole, and a stage makes it again.

    Args:
        path: Of the output, a folder or a file in one.
        stage: That makes it.
    """
    return (
        f"`dvc checkout --force {path}` brings it back from DVC's cache; where it stays as it is, the cache's copy is "
        f"damaged too, and `dvc repro --force --single-item {stage}` makes it again"
    )
