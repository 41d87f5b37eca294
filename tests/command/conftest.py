"""The command is asked in the tiny projects of tests/pipeline."""

from tests.pipeline.conftest import ask, project, python, reproduced

__all__ = ["ask", "project", "python", "reproduced"]
