"""Compares the library with oracle.py, bit for bit: python3 oracle_test.py LIBRARY [SUBSTRING of the cases to run | --all]."""
import itertools
import pathlib
import sys
import time

import numpy as np

import oracle

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import kilter_abi  # noqa: E402

# ---------------------------------------------------------------- the library

NAMES = {True: "layer_norm", False: "rms_norm"}


def tensor(array):
    """A view of a C-contiguous array; an absent tensor for None."""
    if array is None:
        return kilter_abi.Tensor()
    name = {"uint16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64"}[array.dtype.name]
    return kilter_abi.tensor(array.ctypes.data, array.shape, name, (kilter_abi.CPU, 0))


class Library:
    def __init__(self, path):
        self.library = kilter_abi.Library(path)

    def prepare(self, layer, direction, tensors, **scalars):
        """tensors: an op without a mean ignores it."""
        if not layer:
            tensors.pop("mean")
        return kilter_abi.Call(self.library, NAMES[layer], direction, **{name: tensor(array) for name, array in tensors.items()}, **scalars)

    def forward(self, layer, x, eps, weight=None, bias=None, offset=0.0, then_multiply=False, residual=None, post_residual=None,
                write_residual=True):
        F = np.float64 if x.dtype == np.float64 else np.float32
        y, mean, rstd = np.empty_like(x), np.zeros((len(x), 1), F), np.zeros((len(x), 1), F)
        out = np.empty_like(residual) if write_residual and residual is not None else None
        tensors = dict(x=x, weight=weight, bias=bias, residual=residual, post_residual=post_residual, y=y, residual_out=out, mean=mean, rstd=rstd)
        self.prepare(layer, "forward", tensors, eps=eps, weight_offset=offset, rounding=int(then_multiply))()
        return y, mean, rstd, out

    calls = 0

    def backward(self, layer, x, mean, rstd, dy, weight=None, offset=0.0, dresidual_out=None, dweight_type=np.float32):
        """Every call asks for another choice of outputs; what it does not ask for comes back as None."""
        n = x.shape[1]
        wanted = (15, 13, 15, 13, 12, 5, 9, 13, 2, 14)[self.calls % 10]  # bits: dx, dresidual, dweight, dbias
        self.calls += 1
        outputs = np.empty_like(dy), np.empty_like(x), np.empty(n, dweight_type), np.empty(n, dweight_type)
        dx, dresidual, dweight, dbias = (a if wanted >> i & 1 else None for i, a in enumerate(outputs))
        tensors = dict(x=x, weight=weight, mean=mean, rstd=rstd, dy=dy, dresidual_out=dresidual_out, dx=dx, dresidual=dresidual,
                       dweight=dweight, dbias=dbias)
        call = self.prepare(layer, "backward", tensors, weight_offset=offset)
        size = call.workspace_size()
        workspace = np.zeros(max(size, 1), np.uint8)
        call.set_workspace(workspace.ctypes.data, size)
        call()
        return dx, dresidual, dweight, dbias


# ---------------------------------------------------------------- comparison


def bits(array):
    integers = array.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[array.itemsize])
    F = np.float64 if array.dtype == np.float64 else np.float32
    return np.where(np.isnan(oracle.load(array, F)), ~integers.dtype.type(0), integers)


class Report:
    def __init__(self):
        self.cases, self.differences = 0, 0

    def compare(self, case, names, expected, got):
        self.cases += 1
        for name, a, b in zip(names, expected, got):
            if a is None or b is None or a.size == 0:
                continue
            want, have = bits(a), bits(b)
            where = np.argwhere(want != have)
            if len(where):
                self.differences += 1
                if self.differences <= 40:
                    at = tuple(int(i) for i in where[0])
                    print(f"{case}: {name}{list(at)} expected {want[at]:#x} ({oracle.load(np.atleast_1d(a[at]), np.float64)}), "
                          f"got {have[at]:#x} ({oracle.load(np.atleast_1d(b[at]), np.float64)}); {len(where)} of {a.size} differ")


# ---------------------------------------------------------------- cases

TYPES = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(np.uint16), "f64": np.dtype(np.float64)}
LENGTHS = [1, 2, 3, 7, 31, 48, 63, 64, 65, 96, 127, 128, 129, 255, 256, 257, 384, 500, 541, 768, 769, 1023, 1024, 1025, 2880,
           4095, 4096, 4097, 8191, 65537, 262144, 262145, 300000, 600001]
ROWS = [1, 2, 3, 4, 71, 257, 300, 1000]
ELEMENTS = 80000


def tiny(T):
    """(a normal but small magnitude, the smallest subnormal) of a type."""
    return {"f32": (1e-30, 2.0**-149), "bf16": (1e-30, 2.0**-133), "f16": (2.0**-13, 2.0**-24), "f64": (1e-300, 2.0**-1074)}[T]


def largest(T):
    return {"f32": 3.4028234663852886e38, "bf16": 3.3895313892515355e38, "f16": 65504.0, "f64": 1.7976931348623157e308}[T]


def ulp_off(v, T):
    """Moves one element per row, and every 97th, by one unit in the last place."""
    v = oracle.store(v, TYPES[T])
    step = v.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[v.itemsize])
    step[:, ::97] += 1
    return oracle.load(v, np.float64)


def narrow(r, shape, T):
    """Rows whose deviation is near the rounding error of their mean."""
    v = oracle.store(np.full(shape, 1) * r.uniform(1, 1000, (shape[0], 1)), TYPES[T])
    step = v.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[v.itemsize])
    step[:] += (r.random(shape) < 0.5 ** r.integers(1, 12, (shape[0], 1))).astype(step.dtype)
    return oracle.load(v, np.float64)


FILLS = {
    "normal": lambda r, shape, T: r.standard_normal(shape),
    "offset1e4": lambda r, shape, T: r.standard_normal(shape) + 1e4,
    "offset1e6": lambda r, shape, T: r.standard_normal(shape) + (6e4 if T == "f16" else 1e6),
    "constant": lambda r, shape, T: np.full(shape, 1) * r.uniform(-1000, 1000, (shape[0], 1)),
    "ulp_off": lambda r, shape, T: ulp_off(np.full(shape, 1) * r.uniform(1, 1000, (shape[0], 1)), T),
    "narrow": lambda r, shape, T: narrow(r, shape, T),
    "steps": lambda r, shape, T: r.standard_normal(shape) + 10.0 ** r.uniform(-3, 4.5, (shape[0], 64))[:, np.arange(shape[1]) * 64 // shape[1]],
    "far_steps": lambda r, shape, T: r.standard_normal(shape) * 10.0 ** r.uniform(-4, 4, (shape[0], 7))[:, np.arange(shape[1]) * 7 // shape[1]],
    "huge": lambda r, shape, T: r.standard_normal(shape) * {"f16": 1e4, "f64": 1e300}.get(T, 1e30),
    "largest": lambda r, shape, T: largest(T) * np.where(r.random(shape) < 0.7, 1, -1),
    "largest_constant": lambda r, shape, T: np.full(shape, largest(T)),
    "edge_high": lambda r, shape, T: r.standard_normal(shape) * (2.0**480 if T == "f64" else 2.0**48),
    "edge_low": lambda r, shape, T: r.standard_normal(shape) * (2.0**-480 if T == "f64" else 2.0**-48),
    "tiny": lambda r, shape, T: r.standard_normal(shape) * tiny(T)[0],
    "tiny_offset": lambda r, shape, T: (r.standard_normal(shape) * 1e-4 + 1) * tiny(T)[0],
    "subnormal": lambda r, shape, T: r.integers(-50, 50, shape) * tiny(T)[1],
    "smallest": lambda r, shape, T: np.where(r.random(shape) < 0.05, 1, 0) * tiny(T)[1],
    "zero": lambda r, shape, T: np.zeros(shape) * np.where(r.random(shape) < 0.5, 1, -1),
    "one_nan": lambda r, shape, T: put(r.standard_normal(shape), r, np.nan),
    "one_inf": lambda r, shape, T: put(r.standard_normal(shape), r, np.inf),
    "mixed_inf": lambda r, shape, T: put(put(r.standard_normal(shape), r, np.inf), r, -np.inf),
    "outlier": lambda r, shape, T: put(r.standard_normal(shape), r, 6e4),
    "mixed_rows": lambda r, shape, T: r.standard_normal(shape) * np.ldexp(1.0, r.integers(*{"f64": (-1070, 1020), "f16": (-24, 14)}
                                                                                         .get(T, (-148, 125)), (shape[0], 1))),
    "mixed_elements": lambda r, shape, T: r.standard_normal(shape) * np.ldexp(1.0, r.integers(*{"f64": (-1070, 1020), "f16": (-24, 14)}
                                                                                             .get(T, (-148, 125)), shape)),
}


def put(v, r, value):
    """Every other row gets one such element."""
    rows = np.arange(0, len(v), 2)
    v[rows, r.integers(0, v.shape[1], len(rows))] = value
    return v


def make(fill, r, shape, T):
    limit = largest(T)
    v = FILLS[fill](r, shape, T)
    return oracle.store((np.where(np.isinf(v), v, np.clip(v, -limit, limit))).astype(np.float64 if T == "f64" else np.float32), TYPES[T])


def options(r, x, n, T):
    """A random choice of the options of forward."""
    shape, fp32 = x.shape, lambda: "f32" if r.random() < 0.5 else T
    chosen = {}
    if r.random() < 0.7:
        chosen["weight"] = make("normal", r, (1, n), fp32())[0]
        chosen["offset"] = float(r.choice([0.0, 0.0, 1.0, 1 / 3]))
    if r.random() < 0.5:
        chosen["bias"] = make("normal", r, (1, n), fp32())[0]
    chosen["then_multiply"] = bool(r.random() < 0.4)
    if r.random() < 0.3:
        chosen["residual"] = make(r.choice(["normal", "normal", "zero"]), r, shape, fp32())
    if r.random() < 0.3:
        chosen["post_residual"] = make("normal", r, shape, fp32())
    return chosen


def name_of(v):
    return next(k for k, t in TYPES.items() if t == v.dtype)


def describe(chosen):
    return " ".join(f"{k}={name_of(v) if isinstance(v, np.ndarray) else v}" for k, v in chosen.items())


def run_case(library, report, layer, T, n, rows, fill, eps, chosen, r):
    x = make(fill, r, (rows, n), T)
    if chosen is None:
        chosen = options(r, x, n, T)
    case = f"{NAMES[layer]} {T} n={n} rows={rows} {fill} eps={eps} {describe(chosen)}"
    write = bool(r.random() < 0.5)
    expected = oracle.forward(layer, x, eps, **chosen)
    got = library.forward(layer, x, eps, **chosen, write_residual=write)
    names = ["y", "mean", "rstd", "residual_out"] if layer else ["y", "", "rstd", "residual_out"]
    if not layer:
        expected = (expected[0], None) + expected[2:]
    report.compare(f"{case} write_residual={write}", names, expected, got)

    s = x if expected[3] is None else expected[3]
    dy = make("normal" if r.random() < 0.8 else fill, r, (rows, n), T)
    weighted = {k: chosen[k] for k in ("weight", "offset") if k in chosen}
    weight_type = chosen["weight"].dtype if "weight" in chosen else TYPES[T]
    if r.random() < 0.3:
        weighted["dresidual_out"] = make("normal", r, (rows, n), T if r.random() < 0.5 else name_of(s))
    weighted["dweight_type"] = weight_type if r.random() < 0.5 else TYPES["f32"]
    mean, rstd = got[1], got[2]
    if fill == "normal" and r.random() < 0.3:  # statistics that the page allows but forward would not write
        mean, rstd = mean + mean.dtype.type(2.5), rstd * rstd.dtype.type(3)
    case = f"{NAMES[layer]} {T} n={n} rows={rows} {fill} eps={eps} backward x={name_of(s)} {describe(weighted)}"
    report.compare(case, ["dx", "dresidual", "dweight", "dbias"], oracle.backward(layer, s, mean, rstd, dy, **weighted),
                   library.backward(layer, s, mean, rstd, dy, **weighted))


def sweep(everything):
    """(layer, type, n, rows, fill, eps, options); None: random options."""
    r = np.random.default_rng(1)
    for layer, T, n in itertools.product([True, False], TYPES, LENGTHS):  # every length
        for _ in range(3 if n < 65536 else 1):
            rows = int(r.choice([k for k in ROWS if k * n <= ELEMENTS or k == 1]))
            yield layer, T, n, rows, str(r.choice(list(FILLS))), float(r.choice([1e-5, 1e-6, 0.0])), None
    for layer, T, fill, eps in itertools.product([True, False], TYPES, FILLS, [1e-5, 0.0]):  # every fill
        for n in (int(r.choice([48, 64, 128, 255])), int(r.choice([384, 769, 1024])), int(r.choice([2880, 4097]))):
            yield layer, T, n, int(r.choice([4, 7, 11])), fill, eps, None
    for fill in FILLS:  # every fill in rows of several chunks
        yield True, str(r.choice(["f32", "bf16", "f64"])), int(r.choice([262145, 300000, 600001])), 1, fill, 1e-5, {}
    for T, n in itertools.product(("f32", "f64"), (3, 7, 96, 257, 769, 1025, 4097, 65537)):  # the second pass of the mean
        yield True, T, n, max(1, min(1000, ELEMENTS // n)), "narrow", 0.0, {}
    for T, n, fill in itertools.product(("f32", "f64"), (262144, 262145, 524544, 800000, 1100000), ("narrow", "steps", "far_steps")):
        if n != 1100000 or T == "f32":  # chunks that differ, chunks that need the second pass, chunks without a sibling
            yield True, T, n, 1, fill, 0.0, {}
    for layer, T, eps in itertools.product([True, False], ["f32", "f64", "bf16"], [1e-30, -1e-30, 1e-42, 1e20, 1e38, 1e-300, -1.0]):
        for fill in ("tiny", "subnormal", "mixed_rows", "normal"):  # the limit that eps sets to the pre-scale
            yield layer, T, 96, 71, fill, eps, None
    for layer, (k, (T, n, rows)) in itertools.product([True, False], enumerate([  # chunks and accumulators of dweight
            ("f32", 7, 40000), ("bf16", 300, 40000), ("f32", 3, 300000), ("f16", 64, 8191), ("f64", 96, 2570), ("f32", 769, 1000),
            ("bf16", 1025, 513), ("f32", 256, 4097), ("f32", 257, 1000), ("f16", 512, 771), ("f32", 513, 300), ("f64", 1024, 257),
            ("bf16", 16, 12345), ("f32", 31, 511), ("f32", 31, 512), ("f32", 31, 513), ("f64", 7, 1024), ("f64", 7, 1025), ("f16", 3, 65536),
            ("f64", 3, 65537), ("f64", 2, 300000), ("f32", 128, 16385), ("bf16", 129, 8193), ("f32", 255, 8192), ("f16", 512, 4097),
            ("f64", 1024, 2049), ("f32", 2049, 513), ("bf16", 4096, 515), ("f32", 8192, 513), ("f32", 8193, 257), ("bf16", 16385, 129),
            ("f32", 32769, 67), ("f32", 65537, 66), ("f32", 100, 70000),
            ("f32", 3, 600000), ("bf16", 5, 530001), ("f64", 2, 525000)])):  # the last three: chunks of several blocks
        if everything or (k + layer) % 2 == 0:  # by turns: both ops add up columns with the same code
            yield layer, T, n, rows, "normal", 1e-5, {}
    for layer, T, n in itertools.product([True, False], TYPES, (1, 2, 3, 64)):  # signs of zero
        yield layer, T, n, 257, "zero", 1e-5, {}
        yield layer, T, n, 71, "normal", 1e-5, {"weight": oracle.store(-np.zeros(n), TYPES[T]), "offset": 1e-60}
    for layer, T in itertools.product([True, False], TYPES):  # nothing to do
        for n, rows in (0, 0), (0, 3), (5, 0):
            yield layer, T, n, rows, "zero", 1e-5, {}


def given_statistics(library, report):
    """Backward where |mean| is at and around the power of two from which it is halved, and where |lo| is at and around 0.5."""
    r = np.random.default_rng(2)
    for (T, power), n in itertools.product((("f32", 100), ("bf16", 100), ("f64", 1000)), (3, 96, 1025)):
        F = np.float64 if T == "f64" else np.float32
        mean = np.array([[s * 2.0**(power + e)] for s in (1, -1) for e in (-1, 0, 1, 20, 23.9)] + [[2.0**power * (1 - 1e-6)]], F)
        x = oracle.store((mean * (1 + r.standard_normal((len(mean), n)) * 0.2)).astype(F), TYPES[T])
        dy, rstd = make("normal", r, x.shape, T), 1 / np.abs(mean * F(0.2))
        report.compare(f"layer_norm {T} n={n} huge mean", ["dx", "dresidual", "dweight", "dbias"],
                       oracle.backward(True, x, mean, rstd, dy), library.backward(True, x, mean, rstd, dy))
    for T, n, lo in itertools.product(("f32", "bf16", "f64"), (64, 1024, 4096), (0.46875, 0.5, 0.515625, -0.5)):
        x = oracle.store(r.permuted(np.tile([lo - 4, lo + 4, lo - 1, lo + 1], (3, n // 4)), axis=1), TYPES[T])
        dy, statistics = make("normal", r, x.shape, T), np.ones((3, 1), np.float64 if T == "f64" else np.float32)
        report.compare(f"layer_norm {T} n={n} lo={lo}", ["dx", "dresidual", "dweight", "dbias"],
                       oracle.backward(True, x, 0 * statistics, statistics, dy), library.backward(True, x, 0 * statistics, statistics, dy))


def cancelling_columns(library, report):
    """Columns whose sum is what rounding left of it: the order of dweight and dbias shows."""
    r = np.random.default_rng(4)
    for layer, T, rows in itertools.product([True, False], ("f32", "f64"), (1, 2, 3, 5, 511, 512, 513, 1024, 1025, 1537, 2049, 5000)):
        F, n, spread = TYPES[T].type, 33, 60 if T == "f32" else 250
        dy = (r.standard_normal((rows, n)) * np.ldexp(1.0, r.integers(-spread, spread, (rows, n)))).astype(F)
        dy[rows // 2:2 * (rows // 2)] = -dy[:rows // 2]
        dy, x, one = r.permuted(dy, axis=0), np.full((rows, n), F(1)), np.ones((rows, 1), F)
        report.compare(f"{NAMES[layer]} {T} n={n} rows={rows} cancelling columns", ["dx", "dresidual", "dweight", "dbias"],
                       oracle.backward(layer, x, 0 * one, one, dy, dweight_type=F),
                       library.backward(layer, x, 0 * one, one, dy, dweight_type=F))


def main():
    library, report, started = Library(sys.argv[1]), Report(), time.time()
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    everything = only == "--all"
    only = "" if everything else only
    with np.errstate(all="ignore"):
        for i, (layer, T, n, rows, fill, eps, chosen) in enumerate(sweep(everything)):
            if only in f"{NAMES[layer]} {T} n={n} rows={rows} {fill} eps={eps} ":
                run_case(library, report, layer, T, n, rows, fill, eps, chosen, np.random.default_rng([3, i]))
        given_statistics(library, report)
        cancelling_columns(library, report)
    if report.differences:
        print(f"oracle: {report.cases} cases, {report.differences} outputs differ")
        return 1
    print(f"oracle: {report.cases} cases, all bits equal ({time.time() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
