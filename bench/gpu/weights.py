"""kilter's peers on weight_norm, w = g * v / |v|; contestants.py says what one is.  Backward returns dv, dg."""
import functools

import torch

aten = torch.ops.aten


def kept(op, v):
    """g's shape beside v."""
    return (1, -1) if op == "wn.lastdim" else (-1, *[1] * (v.dim() - 1))


def prepared(op):
    if op != "wn.bwd":
        return lambda t: (t["v"], t["g"].view(kept(op, t["v"])))
    return lambda t: (t["dw"], t["v"], t["g"].view(kept(op, t["v"])), t["norm"].view(kept(op, t["v"])))


def torch_eager(op, n):
    """What torch.nn.utils.parametrizations.weight_norm calls."""
    del n
    if op == "wn.bwd":
        return prepared(op), lambda dw, v, g, norm: aten._weight_norm_interface_backward(dw, v, g, norm, 0)
    return prepared(op), functools.partial(torch._weight_norm, dim=1 if op == "wn.lastdim" else 0)


def torch_compile(op, n):
    del n
    torch._dynamo.reset()
    dim = 0 if op == "wn.lastdim" else 1  # that is summed

    def forward(v, g):
        vf = v.float()
        norm = vf.square().sum(dim, keepdim=True).sqrt()
        return (vf * (g.float() / norm)).to(v.dtype), norm

    def backward(dw, v, g, norm):
        vf, up = v.float(), dw.float()
        h = vf / norm
        d = (up * h).sum(dim, keepdim=True)
        return ((g.float() / norm) * (up - h * d)).to(v.dtype), d.to(g.dtype)
    return prepared(op), torch.compile(backward if op == "wn.bwd" else forward, dynamic=False)


PEERS = {"torch": torch_eager, "torch.compile": torch_compile}
