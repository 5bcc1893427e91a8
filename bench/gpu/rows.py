"""rows.txt for Python: what is timed, and the tensors of a row as the library's own table has them."""
import math
import pathlib

SIZES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2}


def parsed(text):
    """(rows, fills): [{op, function, tensors, numbers, chain, dtype, shape}], {tensor: (mean, deviation)}."""
    rows, fills, op = [], {}, None
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "fill":
            fills[words[1]] = tuple(map(float, words[2:4]))
        elif words[0] == "op":
            more = [w for w in words[4:] if "=" in w]
            op = {"op": words[1], "function": (words[2], words[3].rstrip(":")), "tensors": [w for w in words[4:] if "=" not in w and "->" not in w and w != "per-sample"],
                  "numbers": {name: float(value) if "." in value else int(value) for name, value in (w.split("=") for w in more)}, "chain": any("->" in w for w in words), "per_sample": "per-sample" in words}
        else:
            rows += [dict(op, dtype=words[0], shape=shape) for shape in words[1:]]
    return rows, fills


ROWS, FILLS = parsed((pathlib.Path(__file__).resolve().parent / "rows.txt").read_text())


def is_of(row, ops):
    """By the bench's name or the library's: "rms", "rms_norm"; of no ops: always."""
    return not ops or row["op"].split(".")[0] in ops or row["function"][0] in ops


def sizes_of(shape):
    """Of a row's, and whether it is channels last."""
    sizes, _, layout = shape.partition(":")
    return tuple(map(int, sizes.split("x"))), layout == "nhwc"


class Tensor:
    def __init__(self, name, shape, dtype, output, large, last):
        self.name, self.shape, self.dtype, self.output = name, shape, dtype, output
        self.large = large  # as large as the activations
        self.channels_last = large and last
        self.bytes = math.prod(shape) * SIZES[dtype]


def words(text, separator=None):
    return [w.strip() for w in text.decode().split(separator) if w.strip()]


def bound(pattern, shape):
    """{size: value}, "...": a tuple of them."""
    at = pattern.index("...") if "..." in pattern else len(pattern)
    after = len(pattern) - at - 1 if at < len(pattern) else 0
    end = len(shape) - after
    found = dict(zip(pattern[:at], shape[:at])) | dict(zip(pattern[at + 1:], shape[end:]))
    return found | ({"...": tuple(shape[at:end])} if at < len(pattern) else {})


def tensors_of(library, row):
    """{name: Tensor}, in the row's order: shapes and types by the op's table, as gpu_bench has them."""
    fields, t = library.fields[row["function"]]
    first = {name: words(words(f.shape, "|")[0].encode()) for name, f in fields.items() if f.kind in (b"input", b"output")}
    shape, last = sizes_of(row["shape"])
    sizes = bound(first[t], shape) | {"1": 1, "kept": shape[row["numbers"].get("dim", 0)]} | row["numbers"]
    first = {name: first.get(pattern[0], pattern) for name, pattern in first.items()}  # a tensor's name is its shape
    if "..." in sizes:
        sizes["...?"] = (*sizes["..."][:-1], 1) if row.get("per_sample") else sizes["..."]
    types = {t: row["dtype"]}
    for name, field in fields.items():  # a type may be that of a tensor before
        if name in row["tensors"] and name != t:
            word = words(field.types, "|")[0]
            types[name] = row["dtype"] if word == "T" else "fp32" if word == "stat" else word if word in SIZES else types.get(word, row["dtype"])
    made = {}
    for name in row["tensors"]:
        shape = [n for word in first[name] for n in (sizes[word] if word in ("...", "...?") else (sizes[word],))]
        made[name] = Tensor(name, shape, types[name], fields[name].kind == b"output", fields[name].shape == fields[t].shape, last)
    return made
