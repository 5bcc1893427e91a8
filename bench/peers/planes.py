"""The norms of planes among the contestants: batch_norm (inference too), group_norm and instance_norm, in both layouts."""
import ctypes

import torch
from contest import take_turns

EPS = 1e-5
OPS = ("batch_norm", "group_norm", "instance_norm")
CALLS = [(op, backward, True) for op in OPS for backward in (False, True)] + [("batch_norm", False, False)]  # op, backward, training
GROUPS = 32
SHAPES = [(32, 256, 56, 56), (8, 64, 112, 112), (2, 320, 64, 64), (1, 512, 128, 128)]
SUITE = [("float32", shape) for shape in SHAPES] + [("bfloat16", SHAPES[1])]
MOST = {torch.float32: 1e-4, torch.bfloat16: 0.02}  # that contestants may differ by, of the largest value


class PlaneProblem(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("op", "backward", "training", "bf16", "last", "threads")]
    _fields_ += [(name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "groups")]
    _fields_ += [(name, ctypes.c_void_p) for name in "x dy out weight bias mean rstd variance dweight dbias".split()]


def torch_batch_norm(backward, training, t):
    aten, x, weight, bias = torch.ops.aten, t["x"], t["weight"], t["bias"]
    if backward:
        return [("torch native_batch_norm_backward", lambda: aten.native_batch_norm_backward(
            t["dy"], x, weight, None, None, t["mean"], t["rstd"], training, EPS, [True] * 3))]
    running = (None, None) if training else (t["mean"], t["variance"])
    return [("torch native_batch_norm", lambda: aten.native_batch_norm(x, weight, bias, *running, training, 0.1, EPS))]


def torch_group_norm(backward, groups, t):
    aten, x = torch.ops.aten, t["x"]
    sizes = [x.shape[0], x.shape[1], x.shape[2] * x.shape[3], groups]
    if backward:
        _, mean, rstd = aten.native_group_norm(x, t["weight"], t["bias"], *sizes, EPS)
        return [("torch native_group_norm_backward", lambda: aten.native_group_norm_backward(
            t["dy"], x, mean, rstd, t["weight"], *sizes, [True] * 3))]
    return [("torch native_group_norm", lambda: aten.native_group_norm(x, t["weight"], t["bias"], *sizes, EPS))]


def torch_instance_norm(backward, t):
    """As it is, and as a group norm."""
    def instance_norm(x, weight, bias):
        return torch.nn.functional.instance_norm(x, weight=weight, bias=bias, eps=EPS)

    as_groups = torch_group_norm(backward, t["x"].shape[1], t)
    leaves = [t[name].detach().requires_grad_(backward) for name in ("x", "weight", "bias")]
    if not backward:
        return [("torch instance_norm", lambda: instance_norm(*leaves))] + as_groups
    with torch.enable_grad():
        y = instance_norm(*leaves)
    return [("torch instance_norm", lambda: torch.autograd.grad(y, leaves, t["dy"], retain_graph=True))] + as_groups


def torch_calls(op, backward, training, groups, t):
    if op == "batch_norm":
        return torch_batch_norm(backward, training, t)
    return torch_group_norm(backward, groups, t) if op == "group_norm" else torch_instance_norm(backward, t)


def agreeing(what, contestants, t):
    """Those that compute the same thing, gradients of weight and bias too: a peer that does something else is none."""
    outputs = ["out", "dweight", "dbias"] if what["direction"] == "backward" else ["out"]
    expected, agree = None, []
    for name, run in contestants:
        if name.startswith("copy"):
            agree.append((name, run))
            continue
        for output in outputs:
            t[output].zero_()
        returned = run()
        returned = [t[output] for output in outputs] if returned is None else [returned] if torch.is_tensor(returned) else returned
        got = [r.double() for r, _ in zip(returned, outputs)]
        expected = got if expected is None else expected
        apart = [(a - b).abs().max().item() / b.abs().max().item() for a, b in zip(got, expected)]
        if all(a < MOST[t["x"].dtype] for a in apart):
            agree.append((name, run))
        else:
            print(f"left out: {name}, which differs from {contestants[0][0]} by {max(apart):.2g} of the largest value, of {what}", flush=True)
    return agree


def tensors(op, dtype, shape, groups, last):
    """What contestants work on; mean, rstd and variance are those of x."""
    batch, channels = shape[:2]
    layout = torch.channels_last if last else torch.contiguous_format
    t = {name: torch.randn(shape).to(dtype).contiguous(memory_format=layout) for name in ("x", "dy", "out")}
    t |= {name: torch.randn(channels) for name in ("weight", "bias", "dweight", "dbias")}
    x = t["x"].float()
    planes = x.transpose(0, 1).reshape(channels, -1) if op == "batch_norm" else x.reshape(batch, groups, -1)
    t |= {"mean": planes.mean(-1), "variance": planes.var(-1, unbiased=False)}
    t["rstd"] = (t["variance"] + EPS).rsqrt()
    return t


def measure(library, call, dtype, shape, last, options):
    op, backward, training = call
    torch.manual_seed(1)
    batch, channels, height, width = shape
    groups = GROUPS if op == "group_norm" else channels
    t = tensors(op, getattr(torch, dtype), shape, groups, last)
    problem = PlaneProblem(op=OPS.index(op), backward=backward, training=training, bf16=dtype == "bfloat16", last=last,
                           threads=options.threads, batch=batch, channels=channels, height=height, width=width, groups=groups,
                           **{name: tensor.data_ptr() for name, tensor in t.items()})
    what = {"op": op, "direction": "backward" if backward else "forward" if training else "inference",
            "x_dtype": "bf16" if dtype == "bfloat16" else "fp32", "batch": batch, "channels": channels, "spatial": height * width}
    what |= {"groups": groups} if op == "group_norm" else {}
    what["layout"] = "channels last" if last else "channels first"
    made = library.create("plane_contestant_create", problem) + torch_calls(op, backward, training, groups, t)
    return what | {"contestants": take_turns(agreeing(what, made, t), options.reps)}


def results(library, options):
    for call in CALLS:
        for dtype, shape in SUITE:
            for last in (False, True):
                yield measure(library, call, dtype, shape, last, options)
