"""The stages of the pipeline, one short file each.

What every process of it has in common comes first: the arithmetic, which libraries choose when they load.
"""

import os

from skiptrace import arithmetic

# The allocator that Arrow brings reserves 1 GB of address space, a quarter of what `ulimit -v` may leave.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
arithmetic.prepare()
