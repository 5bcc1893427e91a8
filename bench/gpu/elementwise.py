"""kilter's peers on dyt and derf, y = weight * f(alpha * x + shift) + bias with tanh and erf; contestants.py says what one is.

Backward returns dx, dalpha, (dshift,) dweight, dbias.
"""
import importlib
import math

import torch
from contestants import Missing, zero

aten = torch.ops.aten
FUNCTIONS = {"dyt": torch.tanh, "derf": torch.erf}
SLOPES = {"dyt": lambda u, f: 1 - f * f, "derf": lambda u, f: 2 / math.sqrt(math.pi) * torch.exp(-u * u)}  # u: the function's argument, f: its value


def forward_of(kind):
    function = FUNCTIONS[kind]
    if kind == "dyt":
        return lambda x, alpha, weight, bias: weight * function(alpha * x) + bias
    return lambda x, alpha, shift, weight, bias: weight * function(alpha * x + shift) + bias


def parameters(kind):
    return ("alpha",) if kind == "dyt" else ("alpha", "shift")


def prepared(op):
    """The tensors that forward takes, or backward."""
    kind, direction = op.split(".")
    names = ("x", *parameters(kind), "weight", "bias") if direction == "fwd" else ("dy", "x", *parameters(kind), "weight")
    return lambda t: tuple(t[name] for name in names)


def torch_eager(op, n):
    del n
    kind, direction = op.split(".")
    if direction == "fwd":
        return prepared(op), forward_of(kind)

    def saved(t):  # what autograd keeps of forward
        u = t["alpha"] * t["x"] + t["shift"] if "shift" in t else t["alpha"] * t["x"]
        return t["dy"], t["x"], t["alpha"], t["weight"], u, FUNCTIONS[kind](u)

    def backward(dy, x, alpha, weight, u, f):
        g = dy * weight
        du = aten.tanh_backward(g, f) if kind == "dyt" else 2 / math.sqrt(math.pi) * torch.exp(-u.pow(2)) * g
        shift = () if kind == "dyt" else (du.sum().view(1),)
        return (du * alpha, (du * x).sum().view(1), *shift, (dy * f).sum(0), dy.sum(0))
    return saved, backward


def torch_compile(op, n):
    """Forward; of backward what autograd makes of it."""
    del n
    kind, direction = op.split(".")
    torch._dynamo.reset()
    forward = forward_of(kind)
    if direction == "fwd":
        return prepared(op), torch.compile(forward, dynamic=False)

    def backward(dy, x, *rest):
        return torch.func.vjp(forward, x, *rest, torch.zeros_like(rest[-1]))[1](dy)
    return prepared(op), torch.compile(backward, dynamic=False)


def torch_compile_formula(op, n):
    """Backward written out, so that all its sums are sums of columns."""
    del n
    kind, direction = op.split(".")
    if direction == "fwd":
        raise Missing("forward has one formula")
    torch._dynamo.reset()

    def backward(dy, x, *rest):
        alpha, *shift, weight = (p.float() for p in rest)
        xf, g = x.float(), dy.float()
        u = alpha * xf + shift[0] if shift else alpha * xf
        f = FUNCTIONS[kind](u)
        slope = g * SLOPES[kind](u, f)
        sums = [(slope * xf).sum(0)] + ([slope.sum(0)] if shift else [])
        scalars = [(s * weight).sum().view(1).to(p.dtype) for s, p in zip(sums, rest)]
        return (slope * weight * alpha).to(x.dtype), *scalars, (g * f).sum(0).to(rest[-1].dtype), g.sum(0).to(rest[-1].dtype)
    return prepared(op), torch.compile(backward, dynamic=False)


def liger(op, n):
    del n
    if not op.startswith("dyt"):
        raise Missing("no derf")
    dyt = importlib.import_module("liger_kernel.ops.dyt")
    if op == "dyt.fwd":
        return prepared(op), dyt.liger_dyt_fwd
    return lambda t: (*prepared(op)(t), zero(t)), dyt.liger_dyt_bwd


PEERS = {"torch": torch_eager, "torch.compile": torch_compile, "torch.compile(formula)": torch_compile_formula, "liger": liger}
