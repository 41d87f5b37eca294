"""The loop over what a rule says, compiled."""

from typing import no_type_check

from skiptrace.mining.kernels import compiled


@compiled()
@no_type_check
def overlaps(p, context, start, token, share, found):
    """Write Σ_w min(p(w), q(w)) of each row of p [n, V] and the row `context` of q into found [n]; 0 where that is -1.

    That is 1 less the variation distance of the two. q is given as in `Followers`.
    """
    for i in range(len(context)):
        c = context[i]
        total = 0.0
        if c >= 0:
            for k in range(start[c], start[c + 1]):
                total += min(p[i, token[k]], share[k])
        found[i] = total
