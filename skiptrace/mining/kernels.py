"""The loops that tensor libraries lack, compiled: products of whole numbers in registers, and what is done with them.

All run without the interpreter's lock. They are in one file, since Numba's cache on disk notices changes of the file
that a loop stands in, and of no other.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

HEIGHT = 6  # rows of a block of products that are formed at once, in registers
BLOCK = 16 * HEIGHT  # rows that share a scale, and whose maxima are held at once
QUEUE = 64  # products of a row that wait for their vectors
AHEAD = 8  # vectors in any order that are asked for before they are needed
SELDOM = 8  # groups of columns after which norms are compared with the bounds of all rows


class _Cache(FunctionCache):
    """Numba's cache on disk, which raises what pickle raises if one of its files was cut short."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, or None, which compiles it anew."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            self.flush()
            return None


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a loop, without the interpreter's lock, and once for all runs where there is a folder to keep it in.

    That is `NUMBA_CACHE_DIR`, the one beside this file, or the user's cache; where none can be written, every run
    compiles anew. A damaged file there is compiled anew too.
    """

    def compile_lazily(function: Callable[..., Any]) -> Any:
        dispatcher = njit(nogil=True, **options)(function)
        with contextlib.suppress(RuntimeError):  # no folder
            dispatcher._cache = _Cache(function)  # what `cache=True` does with Numba's own
        return dispatcher

    return compile_lazily


class Instructions:
    """What the processor that loops are compiled for can do at once; Numba's variables can ask for an older one."""

    @staticmethod
    @functools.cache
    def features() -> frozenset[str]:
        """Names of its extensions, as LLVM has them."""
        names = cpu_target.target_context.codegen()._tm_features.split(",")
        return frozenset(name[1:] for name in names if name.startswith("+"))

    @classmethod
    def bytes(cls) -> bool:
        """Whether it adds up four products of bytes in one step (AVX512-VNNI)."""
        return "avx512vnni" in cls.features()

    @classmethod
    def vectors(cls) -> int:
        """Vectors of 16 columns that are held in registers together, for each of `HEIGHT` rows."""
        return 4 if "avx512bw" in cls.features() else 1

    @classmethod
    def columns(cls) -> int:
        """Columns of a block of products."""
        return 16 * cls.vectors()


INT32, INT64 = ir.IntType(32), ir.IntType(64)
SIXTEEN = ir.VectorType(INT32, 16)


def _add_products(builder: ir.IRBuilder, total: ir.Value, left: ir.Value, right: ir.Value, size: int) -> ir.Value:
    """Total [16] + Σ left·right over the four bytes (left unsigned) or two 16-bit numbers of each of 16 words."""
    if size == 1:
        words = ir.VectorType(ir.IntType(8), 64)
        kind = ir.FunctionType(SIXTEEN, [SIXTEEN, words, words])
        step = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        return builder.call(step, [total, builder.bitcast(left, words), builder.bitcast(right, words)])
    words, wide = ir.VectorType(ir.IntType(16), 32), ir.VectorType(INT32, 32)
    both = (builder.sext(builder.bitcast(side, words), wide) for side in (left, right))
    products, none = builder.mul(*both), ir.Constant(wide, ir.Undefined)
    # Compilers know this sum of neighbours as one instruction, on x86 and on ARM.
    even, odd = (
        builder.shuffle_vector(products, none, ir.Constant(SIXTEEN, list(range(first, 32, 2)))) for first in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


def _block(rows: int) -> Callable[..., Any]:
    """The intrinsic function that forms so many rows of a block of products; the sums stay in registers."""

    @intrinsic
    @no_type_check
    def form(context, left, left_at, right, right_at, steps, start, out, out_at, cut):
        """Products of rows from word `left_at` of left, and columns of group `right_at` of right.

        left [.., steps, HEIGHT, words], right [.., steps, columns, words]; start [columns] is what sums begin at.
        Writes the largest of each row from out[out_at] on; or, of a single row, returns which of its products reach the
        cut, a bit for each column.
        """
        size = left.dtype.bitwidth // 8
        kinds = (left, *[types.int64], right, *[types.int64] * 2, start, out, types.int64, types.int32)

        def generate(context, builder, _, arguments):
            vectors = Instructions.vectors()
            left, left_at, right, right_at, steps, start, out, out_at, cut = arguments
            number, columns = functools.partial(ir.Constant, INT64), 16 * vectors
            every = [(m, v) for m in range(rows) for v in range(vectors)]
            none = ir.Constant(SIXTEEN, ir.Undefined)

            def data(array, kind):
                pointer = cgutils.create_struct_proxy(kind)(context, builder, value=array).data
                return builder.bitcast(pointer, INT32.as_pointer())

            def load(pointer, at):
                return builder.load(builder.bitcast(builder.gep(pointer, [at]), SIXTEEN.as_pointer()), align=4)

            def spread(one):
                first = builder.insert_element(none, one, ir.Constant(INT32, 0))
                return builder.shuffle_vector(first, none, ir.Constant(SIXTEEN, [0] * 16))

            left = builder.gep(data(left, kinds[0]), [left_at])
            group = builder.mul(right_at, number(columns))
            right = builder.gep(data(right, kinds[2]), [builder.mul(group, steps)])
            start = builder.gep(data(start, kinds[5]), [group])
            out = builder.gep(data(out, kinds[6]), [out_at])

            starts, before = [load(start, number(16 * v)) for v in range(vectors)], builder.block
            loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
            builder.branch(loop)
            builder.position_at_end(loop)
            step = builder.phi(INT64)
            step.add_incoming(number(0), before)
            sums = {at: builder.phi(SIXTEEN) for at in every}
            here = builder.mul(step, number(columns))
            across = [load(right, builder.add(here, number(16 * v))) for v in range(vectors)]
            here = builder.mul(step, number(HEIGHT))
            places = [builder.gep(left, [builder.add(here, number(m))]) for m in range(rows)]
            down = [spread(builder.load(place, align=4)) for place in places]
            grown = {(m, v): _add_products(builder, sums[m, v], down[m], across[v], size) for m, v in every}
            following = builder.add(step, number(1))
            step.add_incoming(following, loop)
            for m, v in every:
                sums[m, v].add_incoming(starts[v], before)
                sums[m, v].add_incoming(grown[m, v], loop)
            builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
            builder.position_at_end(after)

            bits = number(0)
            if rows == 1:
                for v in range(vectors):
                    reached = builder.bitcast(builder.icmp_signed(">=", grown[0, v], spread(cut)), ir.IntType(16))
                    bits = builder.or_(bits, builder.shl(builder.zext(reached, INT64), number(16 * v)))
                return bits
            kind = ir.FunctionType(INT32, [SIXTEEN])
            reduce = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.smax.v16i32")
            for m in range(rows):
                most = grown[m, 0]
                for v in range(1, vectors):
                    most = builder.select(builder.icmp_signed(">", grown[m, v], most), grown[m, v], most)
                builder.store(builder.call(reduce, [most]), builder.gep(out, [number(m)]), align=4)
            return bits

        return types.uint64(*kinds), generate

    return form


_rows, _row = _block(HEIGHT), _block(1)


@compiled()
@no_type_check
def peaks(vectors, found):
    """The largest absolute entries of vectors [n, rank] into found [n]; both are bits, whose order is the same."""
    for i in range(vectors.shape[0]):
        peak = np.int32(0)
        for r in range(vectors.shape[1]):
            peak = max(peak, np.int32(vectors[i, r] & 0x7FFFFFFF))
        found[i] = peak


@compiled(fastmath=True)
@no_type_check
def pack(vectors, order, peaks, levels, raised, block, first, every, whole, numbers, scale, norm, residual, sums):
    """Write blocks `first`, first + every … of vectors [n, rank], those of an order, as whole numbers up to ±levels.

    Each block of so many vectors, in order of falling `peaks`, has a scale. Numbers [groups, steps, width], words of
    four bytes, become the whole numbers plus `raised`; `whole` [numbers of a vector], filled with `raised`, is for one
    on its way; sums [groups, width] are those without it. Writes scale [blocks], norm [blocks], the largest of a
    vector, and residual [blocks], the largest norm of what rounding takes from one. The last vector fills the last
    block, whose largest products are then of vectors there are.
    """
    n, rank = len(order), vectors.shape[1]
    steps, width = numbers.shape[1:]
    words = whole.view(np.int32)
    for b in range(first, len(scale), every):
        peak = peaks[order[b * block]]
        unit = np.float64(peak) / levels if peak > 0 else 1.0
        per_unit, longest, worst = 1.0 / unit, 0.0, 0.0
        for i in range(b * block, (b + 1) * block):
            square, lost, total = 0.0, 0.0, 0
            group, place, vector = i // width, i % width, order[min(i, n - 1)]
            _fetch(vectors, order[min(i + AHEAD, n - 1)])
            for r in range(rank):
                value = np.float64(vectors[vector, r])
                nearest = np.rint(value * per_unit)
                square += value * value
                lost += (value - nearest * unit) ** 2
                total += np.int32(nearest)
                whole[r] = np.int32(nearest) + raised
            for step in range(steps):
                numbers[group, step, place] = words[step]
            sums[group, place] = total
            longest, worst = max(longest, square), max(worst, lost)
        scale[b], norm[b], residual[b] = unit, np.sqrt(longest), np.sqrt(worst)


@intrinsic
@no_type_check
def _eights(context, left, i, right, j):
    """Σ left[i]·right[j] over all places but the last rank mod 8, in double precision, in eight sums that are added."""
    kinds = (left, types.int64, right, types.int64)

    def generate(context, builder, _, arguments):
        number, lanes = functools.partial(ir.Constant, INT64), ir.VectorType(ir.DoubleType(), 8)
        single = ir.VectorType(ir.FloatType(), 8).as_pointer()
        sides = []
        for array, kind, row in ((arguments[0], kinds[0], arguments[1]), (arguments[2], kinds[2], arguments[3])):
            parts = cgutils.create_struct_proxy(kind)(context, builder, value=array)
            rank = builder.extract_value(parts.shape, 1)
            sides.append(builder.gep(parts.data, [builder.mul(row, rank)]))
        end = builder.and_(rank, number(-8))
        before, check = builder.block, builder.append_basic_block("check")
        loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(check)
        builder.position_at_end(check)
        r, total = builder.phi(INT64), builder.phi(lanes)
        r.add_incoming(number(0), before)
        total.add_incoming(ir.Constant(lanes, [0.0] * 8), before)
        builder.cbranch(builder.icmp_signed("<", r, end), loop, after)
        builder.position_at_end(loop)
        places = (builder.bitcast(builder.gep(side, [r]), single) for side in sides)
        one, other = (builder.fpext(builder.load(place, align=4), lanes) for place in places)
        # A product of two numbers of single precision is exact, and so the same if both steps are one.
        both = builder.fmul(one, other, flags=("contract",))
        total.add_incoming(builder.fadd(total, both, flags=("contract",)), loop)
        r.add_incoming(builder.add(r, number(8)), loop)
        builder.branch(check)
        builder.position_at_end(after)
        sums = [builder.extract_element(total, ir.Constant(INT32, lane)) for lane in range(8)]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [builder.fadd(one, other) for one, other in zip(sums[:half], sums[half:], strict=True)]
        return sums[0]

    return types.float64(*kinds), generate


@intrinsic
@no_type_check
def _fetch(context, vectors, i):
    """Ask for a vector of single precision, before it is needed."""
    kinds = (vectors, types.int64)

    def generate(context, builder, _, arguments):
        parts = cgutils.create_struct_proxy(vectors)(context, builder, value=arguments[0])
        rank = builder.extract_value(parts.shape, 1)
        pointer = builder.gep(parts.data, [builder.mul(arguments[1], rank)])
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), INT32, INT32, INT32])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range(
            builder, builder.lshr(builder.add(rank, ir.Constant(INT64, 15)), ir.Constant(INT64, 4))
        ) as line:
            place = builder.gep(pointer, [builder.mul(line.index, ir.Constant(INT64, 16))])
            to_read, soon, data = (ir.Constant(INT32, value) for value in (0, 3, 1))
            builder.call(ask, [builder.bitcast(place, ir.IntType(8).as_pointer()), to_read, soon, data])
        return context.get_dummy_value()

    return types.void(*kinds), generate


@compiled()
@no_type_check
def product(left, i, right, j):
    """Σ left[i]·right[j] in double precision, where each product is exact, always in the same order."""
    total = _eights(left, i, right, j)
    rank = left.shape[1]
    for r in range(rank - rank % 8, rank):
        total += np.float64(left[i, r]) * np.float64(right[j, r])
    return total


@compiled()
@no_type_check
def offer(values, index, i, value, at):
    """Enter a value into the best of row i, largest first; of equal ones the smaller index first."""
    p = values.shape[1] - 1
    if value < values[i, p] or (value == values[i, p] and at >= index[i, p]):
        return
    while p > 0 and (value > values[i, p - 1] or (value == values[i, p - 1] and at < index[i, p - 1])):
        values[i, p], index[i, p] = values[i, p - 1], index[i, p - 1]
        p -= 1
    values[i, p], index[i, p] = value, at


@compiled()
@no_type_check
def _enter(values, index, i, found, at, count, rank):
    """Enter the first values of row i, as `offer` would one by one, but without branches that are guessed wrong.

    Found and rank have room for the next multiple of eight.
    """
    end = count + -count % 8
    found[count:end] = -np.inf
    rank[:end] = 0
    for c in range(count):
        value, place = found[c], at[c]
        for d in range(end):
            rank[d] += (value > found[d]) | ((value == found[d]) & (place < at[d]))
    for c in range(count):
        if rank[c] < values.shape[1]:
            values[i, rank[c]], index[i, rank[c]] = found[c], at[c]


@compiled()
@no_type_check
def _decide(left, row, right, right_order, groups, bits, i, count, columns, apart, values, index, found, at, rank):
    """Form the products of a row and the columns of the bits, and enter each; returns how many.

    Bits [i, count] say which columns of groups [i, count]. Found, at and rank have room for those that wait.
    """
    waiting = formed = 0
    for g in range(count):
        those = bits[i, g]
        while those:
            column = right_order[groups[i, g] * columns + np.int64(trailing_zeros(those))]
            those &= those - np.uint64(1)
            _fetch(right, column)
            at[waiting] = column
            waiting += 1
        last = g == count - 1
        if waiting <= QUEUE and not last:
            continue
        for c in range(waiting):
            found[c] = product(left, row, right, at[c])
            at[c] += row * len(right)
        if apart and last and formed == 0 and waiting <= QUEUE:
            _enter(values, index, row, found, at, waiting, rank)
        else:
            for c in range(waiting):
                offer(values, index, row if apart else 0, found[c], at[c])
        formed += waiting
        waiting = 0
    return formed


@compiled()
@no_type_check
def bound(norm, residual, other_norm, other_residual, slack):
    """How far a product of two vectors may be from that of their whole numbers (`skiptrace.mining.search`)."""
    return (norm + residual) * other_residual + residual * other_norm + slack * norm * other_norm


@compiled()
@no_type_check
def search(
    left, left_order, left_numbers, left_scale, left_norm, left_residual,
    right, right_order, right_numbers, right_scale, right_norm, right_residual,
    start, slack, first, every, limit, together, values, index,
):  # fmt: skip
    """Enter the products of the blocks of rows `first`, first + every … into the best of each row, or of all rows.

    The parts of both sides are those of `Packed`, start [groups, columns] what sums begin at. Values and index [n, k]
    or, of all rows together, [1, k]; an index is row · m + column. Returns how many products were formed in double
    precision; it gives up where these are more than `limit`.
    """
    rows_total, columns_total = len(left_order), len(right_order)
    steps, columns, k = left_numbers.shape[1], right_numbers.shape[2], values.shape[1]
    block, groups, apart = BLOCK, len(right_scale), not together
    most = np.empty(groups * block, np.int32)  # the largest products of a group of columns and a row
    unit, error = np.empty(groups), np.empty(groups)
    looked = np.empty(groups, np.bool_)
    needed, chosen = np.empty(block), np.empty(block, np.int64)
    # Of each row: groups with products that may be among the best, which ones, and how many groups.
    reached, bits, count = (
        np.empty((block, groups), np.int32),
        np.empty((block, groups), np.uint64),
        np.empty(block, np.int64),
    )
    found, at, rank = (
        np.empty(QUEUE + columns),
        np.empty(QUEUE + columns, np.int64),
        np.empty(QUEUE + columns, np.int64),
    )
    bounds = np.empty((block if apart else 1, k))  # the largest lower bounds of products in different blocks
    bounds[:] = -np.inf
    again, lowest = 0, -np.inf
    for b in range(first, len(left_scale), every):
        top = b * block
        rows = min(block, rows_total - top)
        if apart:
            bounds[:] = -np.inf
        for p in range(groups):
            unit[p], reach = left_scale[b] * right_scale[p], left_norm[b] * right_norm[p]
            error[p] = bound(left_norm[b], left_residual[b], right_norm[p], right_residual[p], slack)
            if p % SELDOM == 0:
                lowest = bounds[0, k - 1]
                for i in range(1, rows if apart else 1):
                    lowest = min(lowest, bounds[i, k - 1])
            looked[p] = reach + error[p] >= lowest  # where not, no product of such norms is as large
            if not looked[p]:
                continue
            for i in range(0, rows, HEIGHT):
                _rows(left_numbers, (top + i) * steps, right_numbers, p, steps, start, most, p * block + i, 0)
            for i in range(rows):
                least, own = most[p * block + i] * unit[p] - error[p], i if apart else 0
                if least > bounds[own, k - 1]:
                    for q in range(k - 1, 0, -1):  # without a branch that depends on the bounds: none is guessed wrong
                        bounds[own, q] = max(bounds[own, q], min(bounds[own, q - 1], least))
                    bounds[own, 0] = max(bounds[own, 0], least)
        for i in range(rows):
            _fetch(left, left_order[top + i])  # for `_decide`
            count[i] = 0
            needed[i] = max(bounds[i if apart else 0, k - 1], values[left_order[top + i] if apart else 0, k - 1])
        for p in range(groups):
            if not looked[p]:
                continue
            many, inside = 0, columns_total - p * columns
            there = np.uint64((1 << inside) - 1) if inside < columns else ~np.uint64(0)
            for i in range(rows):  # without a branch
                chosen[many] = i
                many += most[p * block + i] * unit[p] + error[p] >= needed[i]
            for c in range(many):
                i = chosen[c]
                word = (top + i) // HEIGHT * steps * HEIGHT + (top + i) % HEIGHT
                cut = np.int32(max(np.ceil((needed[i] - error[p]) / unit[p]), -(2.0**31)))
                which = _row(left_numbers, word, right_numbers, p, steps, start, most, 0, cut)
                reached[i, count[i]], bits[i, count[i]] = p, which & there
                count[i] += 1
        for i in range(rows):
            row = left_order[top + i]
            again += _decide(
                left,
                row,
                right,
                right_order,
                reached,
                bits,
                i,
                count[i],
                columns,
                apart,
                values,
                index,
                found,
                at,
                rank,
            )
        if again > limit:
            return again
    return again


PAIRED = 256  # bins of a histogram up to which two entries are counted at once


@compiled(fastmath=True)
@no_type_check
def count(tile, low, per_unit, bins, counts, least, most):
    """Add a tile's entries to a histogram that begins at `low`; its ends take the rest.

    counts [bins + 1, bins + 1] has a place for two bins, of an entry in the left half of the tile and of the one
    opposite in its right half, or, the last, of none: half as many numbers to write, and neighbours seldom wait for
    each other. Above `PAIRED` bins it is [bins + 1, 1]. Least and most [half the columns or more] take the extremes.
    """
    n, m = tile.shape
    half, paired = m // 2, counts.shape[1] > 1
    top, across, places = np.float32(bins - 1), np.int32(counts.shape[1]), counts.reshape(-1)
    first, second = np.empty(half, np.int32), np.empty(half, np.int32)
    for i in range(n):
        for j in range(half):
            one, other = tile[i, j], tile[i, half + j]
            least[j], most[j] = min(least[j], min(one, other)), max(most[j], max(one, other))
            first[j] = np.int32(min(max((one - low) * per_unit, np.float32(0)), top)) * across
            second[j] = np.int32(min(max((other - low) * per_unit, np.float32(0)), top))
        if paired:
            first += second  # in vectors, which the sum beside the addition to a place would not be
            for j in range(half):
                places[np.uint32(first[j])] += 1  # unsigned, so that none can be meant to count from the end
        else:
            for j in range(half):
                places[np.uint32(first[j])] += 1
                places[np.uint32(second[j])] += 1
        if m % 2:
            one = tile[i, m - 1]
            least[0], most[0] = min(least[0], one), max(most[0], one)
            places[np.int32(min(max((one - low) * per_unit, np.float32(0)), top)) * across + across - 1] += 1
