"""The `skiptrace` command: questions asked of what a pipeline has made, one file for each.

The arithmetic comes first, which libraries choose when they load.
"""

from skiptrace import arithmetic

arithmetic.prepare()
