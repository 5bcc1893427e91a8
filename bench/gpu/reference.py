"""What every output of a row should be, in float64 from the same bytes: the textbook's forward, and its gradients by autograd."""
import functools
import inspect

import torch

EPS = 1e-5


def layer_norm(x, weight, bias):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, EPS)


def rms_norm(x, weight):
    return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt() * weight


def adaptive_layer_norm(x, scale, shift):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], None, None, EPS) * (1 + scale) + shift


def dyt(x, alpha, weight, bias):
    return weight * torch.tanh(alpha * x) + bias


def derf(x, alpha, shift, weight, bias):
    return weight * torch.erf(alpha * x + shift) + bias


def batch_norm(x, weight, bias, running_mean=None, running_var=None, training=1):
    return torch.nn.functional.batch_norm(x, None if training else running_mean, None if training else running_var, weight, bias, bool(training), 0.1, EPS)


def instance_norm(x, weight, bias):
    return torch.nn.functional.instance_norm(x, None, None, weight, bias, True, 0.1, EPS)


def group_norm(x, weight, bias, groups=1, activation=0):
    y = torch.nn.functional.group_norm(x, groups, weight, bias, EPS)
    return torch.nn.functional.silu(y) if activation else y


def weight_norm(v, g, dim=0):
    kept = [1] * v.dim()
    kept[dim] = -1
    return g.view(kept) * v / v.square().sum([d for d in range(v.dim()) if d != dim % v.dim()], keepdim=True).sqrt()


def expected_weights(t, direction, dim=0):
    v, g = (t[name].double().requires_grad_() for name in ("v", "g"))
    with torch.enable_grad():
        w = weight_norm(v, g, dim)
        found = {"w": w.detach()} if direction == "forward" else dict(zip(("dv", "dg"), torch.autograd.grad(w, (v, g), t["dw"].double())))
    return {name: (values, 0.0) for name, values in found.items() if name in t}


FORMULAS = {f.__name__: f for f in (layer_norm, rms_norm, adaptive_layer_norm, dyt, derf, batch_norm, instance_norm, group_norm)}


def size(values):
    return torch.linalg.vector_norm(values).item()


def forward(formula, t):
    x = t["x"].double()
    if "residual" in t:
        if "gate" in t:
            x = t["gate"].double() * x
        x = (x + t["residual"].double()).to(t["residual"].dtype).double()
    y = formula(x, **{name: t[name].double() for name in inspect.signature(formula).parameters if name != "x" and name in t})
    return {"y": y, "residual_out": x}


def backward(formula, t):
    """Also the size of what a single number is the sum of: where it cancels, the sum's own says little."""
    leaves, sums = {}, []
    for name, parameter in inspect.signature(formula).parameters.items():  # backward may lack bias, whose value does not matter then
        if parameter.default is not parameter.empty:
            continue  # no gradient is asked for
        leaf = t[name].double() if name in t else torch.zeros_like(t["weight" if "weight" in t else "scale"], dtype=torch.float64)
        if leaf.numel() == 1:
            leaf = leaf.expand(t["x"].shape).clone()
            sums.append(name)
        leaves[name] = leaf.requires_grad_()
    with torch.enable_grad():
        gradients = torch.autograd.grad(formula(**leaves), list(leaves.values()), t["dy"].double())
    found = dict(zip(("d" + name for name in leaves), gradients))
    sizes = {"d" + name: size(found["d" + name]) for name in sums}
    found.update({"d" + name: found["d" + name].sum().view(1) for name in sums})
    if "dresidual_out" in t:
        found["dx"] = found["dx"] + t["dresidual_out"].double()
    return found, sizes


def expected(row, t):
    """{output: (values, the least that an error is a fraction of)}."""
    op, direction = row["function"]
    if op == "weight_norm":
        return expected_weights(t, direction, **row["numbers"])
    numbers = {name: value for name, value in row["numbers"].items() if name in inspect.signature(FORMULAS[op]).parameters}
    formula = functools.partial(FORMULAS[op], **numbers)
    found, sizes = backward(formula, t) if direction == "backward" else (forward(formula, t), {})
    return {name: (values, sizes.get(name, 0.0)) for name, values in found.items() if name in t}
