"""kilter's peers on the norms of planes, GroupNorm (gn, gnsilu: with SiLU behind it), BatchNorm (bn) and InstanceNorm (in); contestants.py
says what one is.  `groups` is GroupNorm's.  Backward returns dx, dweight, dbias.

cudnn: through PyTorch, BatchNorm alone.  torch.compile: backward is the textbook's formula, compiled as one function.
"""
import functools

import torch
import torch.nn.functional as F
from contestants import EPS, Missing

aten = torch.ops.aten
MOMENTUM = 0.1
OUTPUTS = [True] * 3


def single(t, name):
    """BatchNorm's parameters, which its kernels want in fp32; zeros where a row has none."""
    return t[name].float() if name in t else torch.zeros_like(t["weight"], dtype=torch.float32)


def flat(x):
    """InstanceNorm as BatchNorm of one sample."""
    return x.contiguous().view(1, -1, *x.shape[2:])


def group_forward(op, groups):
    if op == "gn.fwd":
        return lambda x, w, b: F.group_norm(x, groups, w, b, EPS)
    return lambda x, w, b: F.silu(F.group_norm(x, groups, w, b, EPS))


def batch_forward(op):
    training = op == "bn.train"
    return lambda x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, training, MOMENTUM, EPS)


def batch_tensors(t):
    return t["x"], single(t, "weight"), single(t, "bias"), single(t, "running_mean"), single(t, "running_var")


def of_group_norm(t):
    return t["x"], t["weight"], t["bias"] if "bias" in t else torch.zeros_like(t["weight"])


def torch_eager(op, groups):
    if op in ("gn.fwd", "gnsilu.fwd"):
        return of_group_norm, group_forward(op, groups)
    if op in ("gn.bwd", "gnsilu.bwd"):
        def saved(t):  # what autograd keeps of forward
            x, weight, bias = of_group_norm(t)
            x = x.contiguous()
            sizes = x.shape[0], x.shape[1], x[0, 0].numel(), groups
            z, mean, rstd = aten.native_group_norm(x, weight, bias, *sizes, EPS)
            return t["dy"], z, x, mean, rstd, weight, sizes

        def backward(dy, z, x, mean, rstd, weight, sizes):
            g = aten.silu_backward(dy, z) if op == "gnsilu.bwd" else dy
            return aten.native_group_norm_backward(g.contiguous(), x, mean, rstd, weight, *sizes, OUTPUTS)
        return saved, backward
    if op in ("bn.train", "bn.infer"):
        def native(x, w, b, mean, var):
            with torch.backends.cudnn.flags(enabled=False):
                return batch_forward(op)(x, w, b, mean, var)
        return batch_tensors, native
    if op == "bn.bwd":
        def saved(t):
            return t["dy"], t["x"], single(t, "weight"), None, None, t["mean"], t["rstd"], True, EPS, OUTPUTS
        return saved, aten.native_batch_norm_backward
    if op == "in.fwd":
        return lambda t: (t["x"], t["weight"], t["bias"]), lambda x, w, b: F.instance_norm(x, None, None, w, b, True, MOMENTUM, EPS)

    def saved(t):
        return (t["dy"], flat(t["x"]), single(t, "weight").repeat(t["x"].shape[0]), t["mean"].flatten(), t["rstd"].flatten(), t["x"].shape)

    def backward(dy, x, weight, mean, rstd, shape):
        dx, *sums = aten.native_batch_norm_backward(flat(dy), x, weight, None, None, mean, rstd, True, EPS, OUTPUTS)
        return dx.view(shape), *(s.view(shape[:2]).sum(0) for s in sums)
    return saved, backward


def cudnn(op, groups):
    del groups
    if op == "bn.train":
        return lambda t: (*batch_tensors(t), True, MOMENTUM, EPS), aten.cudnn_batch_norm
    if op != "bn.bwd":
        raise Missing(f"no {op}")

    def saved(t):
        x, weight, *others = batch_tensors(t)
        _, mean, var, reserve = aten.cudnn_batch_norm(x, weight, *others, True, MOMENTUM, EPS)
        return x, t["dy"], weight, *others[1:], mean, var, EPS, reserve
    return saved, aten.cudnn_batch_norm_backward


def formula(kind, groups):
    """dx, dweight, dbias from saved mean and rstd."""
    silu = kind == "gnsilu"

    def backward(dy, x, weight, bias, mean, rstd):
        n, c = x.shape[:2]
        shape = (n, groups, c // groups, -1) if kind in ("gn", "gnsilu") else (n, c, -1)
        at = {"bn": (1, c, 1), "in": (n, c, 1)}.get(kind, (n, groups, 1, 1))
        across, over = {"bn": ((0, 2), 2), "in": ((2,), 2)}.get(kind, ((2, 3), 3))  # a plane; a channel of a sample
        w, b = (p.float().view(1, *shape[1:-1], 1) for p in (weight, bias))
        xhat, u = (x.float().view(shape) if x.is_contiguous() else x.float().reshape(shape)) - mean.view(at), dy.float().reshape(shape)
        xhat = xhat * rstd.view(at)
        if silu:
            z = xhat * w + b
            s = torch.sigmoid(z)
            u = u * (s * (1 + z * (1 - s)))
        g = u * w
        dx = (g - g.mean(across, keepdim=True) - xhat * (g * xhat).mean(across, keepdim=True)) * rstd.view(at)
        sums = [(v.sum((0, over))).reshape(c).to(weight.dtype) for v in (u * xhat, u)]
        return dx.reshape(x.shape).to(x.dtype), *sums
    return backward


def torch_compile(op, groups):
    torch._dynamo.reset()
    compiled = functools.partial(torch.compile, dynamic=False)
    kind, direction = op.split(".")
    if direction == "bwd":
        def saved(t):
            bias = t["bias"] if "bias" in t else torch.zeros_like(t["weight"])
            return t["dy"], t["x"], t["weight"], bias, t["mean"], t["rstd"]
        return saved, compiled(formula(kind, groups))
    if kind in ("gn", "gnsilu"):
        return of_group_norm, compiled(group_forward(op, groups))
    if kind == "bn":
        return batch_tensors, compiled(batch_forward(op))
    return lambda t: (t["x"], t["weight"], t["bias"]), compiled(torch_eager("in.fwd", groups)[1])


PEERS = {"torch": torch_eager, "torch.compile": torch_compile, "cudnn": cudnn}
