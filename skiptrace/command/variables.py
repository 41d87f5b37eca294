"""Print the variables by which a process computes as the pipeline does, for a shell to set them before Dask starts.

    eval "$(python -m skiptrace.command.variables)"

Libraries choose their kernels when they load, which in a worker is before any of this package.
"""

import os
import shlex

from skiptrace import arithmetic


def main() -> None:
    """Print a line of shell for each variable that this package has set, or found set."""
    for name in sorted(arithmetic.variables() & os.environ.keys()):
        print(f"export {name}={shlex.quote(os.environ[name])}")


if __name__ == "__main__":
    main()
