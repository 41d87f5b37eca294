"""The stages of the pipeline, one short file each.

What every process of it has in common comes first: the arithmetic, which libraries choose when they load.
"""

from skiptrace import arithmetic

arithmetic.prepare()
