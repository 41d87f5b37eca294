"""The tiny pipeline of tests/pipeline."""

from tests.pipeline.conftest import project, python, reproduced

__all__ = ["project", "python", "reproduced"]
