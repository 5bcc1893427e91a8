"""kilter's peers on adaptive_layer_norm, y = LayerNorm(x) * (1 + scale) + shift; contestants.py says what one is.

Backward returns dx, dscale, dshift; gateadaln.fwd y and residual + gate * x.
"""
import torch
import torch.nn.functional as F
from contestants import EPS, Missing


def forward_of(op, n):
    def modulated(x, scale, shift):
        return F.layer_norm(x, [n], None, None, EPS) * (1 + scale) + shift
    if op != "gateadaln.fwd":
        return ("x", "scale", "shift"), modulated

    def gated(x, residual, gate, scale, shift):
        s = residual + gate * x
        return modulated(s, scale, shift), s
    return ("x", "residual", "gate", "scale", "shift"), gated


def prepared(names):
    return lambda t: tuple(t[name] for name in names)


def torch_eager(op, n):
    if op.endswith(".bwd"):
        raise Missing("backward of the composition: torch.compile's")
    names, forward = forward_of(op, n)
    return prepared(names), forward


def torch_compile(op, n):
    torch._dynamo.reset()
    if not op.endswith(".bwd"):
        names, forward = forward_of(op, n)
        return prepared(names), torch.compile(forward, dynamic=False)

    def backward(dy, x, scale, mean, rstd):
        xhat, gf = (x.float() - mean) * rstd, dy.float()
        g = gf * (1 + scale.float())
        dx = (g - g.mean(-1, keepdim=True) - xhat * (g * xhat).mean(-1, keepdim=True)) * rstd
        return dx.to(x.dtype), (gf * xhat).sum(1, keepdim=True).to(scale.dtype), gf.sum(1, keepdim=True).to(scale.dtype)
    shaped = lambda t, name: t[name].view(*t["x"].shape[:-1], 1)  # noqa: E731
    return lambda t: (t["dy"], t["x"], t["scale"], shaped(t, "mean"), shaped(t, "rstd")), torch.compile(backward, dynamic=False)


PEERS = {"torch": torch_eager, "torch.compile": torch_compile}
