"""The tensors of a row, the calls of kilter and its peers on them, and whether what they return is right."""
import adaptive
import contestants
import elementwise
import kilter_abi as abi
import planes
import reference
import rows
import torch
import weights
from contestants import Missing

DEVICE = "cuda"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
FAMILIES = {**dict.fromkeys(("adaln", "adalntok", "gateadaln"), adaptive.PEERS), **dict.fromkeys(("dyt", "derf"), elementwise.PEERS),
            **dict.fromkeys(("gn", "gnsilu", "bn", "in"), planes.PEERS), "wn": weights.PEERS}  # the others are row norms
PEERS = tuple(dict.fromkeys((*contestants.PEERS, *adaptive.PEERS, *elementwise.PEERS, *planes.PEERS, *weights.PEERS)))
FP32_TOLERANCE, TOLERANCE = 1e-4, 1e-2


class Row:
    def __init__(self, library, row):
        self.library, self.row, self.op, self.dtype = library, row, row["op"], row["dtype"]
        self.tensors = rows.tensors_of(library, row)
        self.bytes = sum(t.bytes for t in self.tensors.values())
        self.outputs = [t for t in self.tensors.values() if t.output]
        # In the order in which contestants return them; of forward's, statistics are theirs to save or not.
        self.compared = [t.name for t in self.outputs if t.large or row["function"][1] == "backward"]

    def peer(self, who):
        contestant = FAMILIES.get(self.op.split(".")[0], contestants.PEERS).get(who)
        if contestant is None:
            raise Missing(f"no {self.op}")
        return contestant(self.op, self.row["numbers"].get("groups") or next(iter(self.tensors.values())).shape[-1])

    def make(self):
        """The tensors of one set: inputs, and kilter's outputs."""
        made = {}
        for t in self.tensors.values():
            mean, deviation = (0, 1) if t.large else rows.FILLS.get(t.name, (0, 1))
            layout = torch.channels_last if t.channels_last else torch.contiguous_format
            made[t.name] = torch.empty(*t.shape, device=DEVICE, dtype=DTYPES[t.dtype], memory_format=layout)
            if not t.output:
                made[t.name].normal_(mean, deviation)
        self.save(made)
        return made

    def save(self, made):
        """What backward takes and forward writes."""
        op, direction = self.row["function"]
        forward = self.library.fields[op, "forward"][0]
        saved = [name for name, t in self.tensors.items() if not t.output and name in forward and forward[name].kind == b"output"]
        if direction == "backward" and saved:
            taken = {name: t for name, t in made.items() if name in forward}  # alive until it has run
            if "x" in made:
                taken["y"] = torch.empty_like(made["x"])
            call = self.call((op, "forward"), taken)
            workspace = torch.zeros(max(1, call.workspace_size()), device=DEVICE, dtype=torch.uint8)
            call.set_workspace(workspace.data_ptr(), workspace.numel())
            call(self.stream())

    def call(self, function, tensors):
        names = {v: k for k, v in DTYPES.items()}
        where = (abi.CUDA if DEVICE == "cuda" else abi.CPU, 0)
        values = {k: abi.tensor(v.data_ptr(), list(v.shape), names[v.dtype], where, v.stride()) for k, v in tensors.items()}
        numbers = {k: v for k, v in self.row["numbers"].items() if k in self.library.fields[function][0]}
        return abi.Call(self.library, *function, **values, **numbers)

    def stream(self):
        return torch.cuda.current_stream().cuda_stream if DEVICE == "cuda" else None

    def returned(self, got):
        """Of what a contestant returns, the outputs that are compared."""
        return [got] if torch.is_tensor(got) else [g for g in got if torch.is_tensor(g)][:len(self.compared)]


def kilter_contestant(row, first):
    """prepare and run, and the bytes of workspace, which all calls share."""
    size = row.call(row.row["function"], first).workspace_size()
    workspace = torch.zeros(max(size, 1), device=DEVICE, dtype=torch.uint8)

    def prepare(t):
        made = row.call(row.row["function"], t)
        if size:
            made.set_workspace(workspace.data_ptr(), size)
        return made, t

    def run(made, t):
        made(row.stream())
        return [t[name] for name in row.compared]
    return prepare, run, size


def expected(row, t):
    """[(output, values, the least that an error is a fraction of)], of the largest a sample."""
    found = reference.expected(row.row, t)
    return [(name, sampled(found[name][0]).clone(), found[name][1]) for name in row.compared]


def sampled(values):
    values = values.reshape(-1)
    return values[::max(1, values.numel() >> 24)]


def differs(row, got, wanted):
    """The first output that is wrong, or None."""
    if len(got) != len(wanted):
        return f"{len(got)} outputs, expected {len(wanted)}"
    for values, (name, want, least) in zip(got, wanted):
        size = torch.linalg.vector_norm(want).clamp(min=max(least, 1e-30))
        error = (torch.linalg.vector_norm(sampled(values).double() - want) / size).item()
        if not error < (FP32_TOLERANCE if row.dtype == "fp32" else TOLERANCE):
            return f"{name} is wrong: relative error {error:.3g}"
    return None
