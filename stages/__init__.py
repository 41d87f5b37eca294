"""The stages of the pipeline, one short file each.

What every process of it has in common comes first: the arithmetic, which libraries choose when they load.
"""

import os
import signal
import sys

from skiptrace import arithmetic

# As `python -m stages.NAME`, and until `errors.run`: a KeyboardInterrupt in the midst of an import can be lost in it.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# The allocator that Arrow brings reserves 1 GB of address space, a quarter of what `ulimit -v` may leave.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
arithmetic.prepare()
