"""kilter's peers on the row norms: for each library, how one call is prepared and made.

A contestant is (who, prepare, run): prepare(t) makes of a set's tensors t the arguments of run, outside of what is timed;
run(*arguments) returns y (or dx) first.  Backward also returns dweight, and dbias for ln, in that order; addrms.fwd the sum.
"""
import functools
import importlib

import torch
import torch.nn.functional as F

EPS = 1e-5
CUDNN_PLANS = 4  # that are tried; half a second each to build
aten = torch.ops.aten


class Missing(Exception):
    """The library is not installed, or has no such op."""


def zero(t):
    """A bias, for a backward that wants one."""
    return torch.zeros_like(t["weight"])


# ---------------------------------------------------------------- PyTorch

def torch_eager(op, n):
    if op == "ln.fwd":
        return lambda t: (t["x"], [n], t["weight"], t["bias"], EPS), aten.native_layer_norm
    if op == "rms.fwd":
        return lambda t: (t["x"], [n], t["weight"], EPS), F.rms_norm
    if op == "ln.bwd":
        return (lambda t: (t["dy"], t["x"], [n], t["mean"].view(-1, 1), t["rstd"].view(-1, 1), t["weight"], zero(t), [True] * 3),
                aten.native_layer_norm_backward)
    if op == "rms.bwd":
        return (lambda t: (t["dy"], t["x"], [n], t["rstd"].view(-1, 1), t["weight"], [True, True]), aten._fused_rms_norm_backward)
    if op == "addrms.fwd":
        def add(x, residual, weight):
            s = x + residual
            return F.rms_norm(s, [n], weight, EPS), s
        return lambda t: (t["x"], t["residual"], t["weight"]), add

    def backward(dy, dresidual, x, rstd, weight):
        dx, dweight = aten._fused_rms_norm_backward(dy, x, [n], rstd, weight, [True, True])
        return dx + dresidual, dweight
    return lambda t: (t["dy"], t["dresidual_out"], t["x"], t["rstd"].view(-1, 1), t["weight"]), backward


def torch_compile(op, n):
    def rms_backward(dy, x, weight, rstd):
        xf, gf = x.float(), dy.float()
        xhat, g = xf * rstd, gf * weight.float()
        return (g - xhat * (g * xhat).mean(-1, keepdim=True)) * rstd, (gf * xhat).sum(0).to(weight.dtype)

    def ln_backward(dy, x, weight, mean, rstd):
        xf, gf = x.float(), dy.float()
        xhat, g = (xf - mean) * rstd, gf * weight.float()
        dx = (g - g.mean(-1, keepdim=True) - xhat * (g * xhat).mean(-1, keepdim=True)) * rstd
        return dx.to(x.dtype), (gf * xhat).sum(0).to(weight.dtype), gf.sum(0).to(weight.dtype)

    def rms_backward_alone(dy, x, weight, rstd):
        dx, dweight = rms_backward(dy, x, weight, rstd)
        return dx.to(x.dtype), dweight

    def rms_backward_added(dy, dresidual, x, weight, rstd):
        dx, dweight = rms_backward(dy, x, weight, rstd)
        return (dx + dresidual.float()).to(x.dtype), dweight

    def column(t, name):
        return t[name].view(-1, 1)

    torch._dynamo.reset()
    compiled = functools.partial(torch.compile, dynamic=False)
    return {
        "ln.fwd": (lambda t: (t["x"], t["weight"], t["bias"]), compiled(lambda x, w, b: F.layer_norm(x, [n], w, b, EPS))),
        "rms.fwd": (lambda t: (t["x"], t["weight"]), compiled(lambda x, w: F.rms_norm(x, [n], w, EPS))),
        "addrms.fwd": (lambda t: (t["x"], t["residual"], t["weight"]), compiled(torch_eager("addrms.fwd", n)[1])),
        "ln.bwd": (lambda t: (t["dy"], t["x"], t["weight"], column(t, "mean"), column(t, "rstd")), compiled(ln_backward)),
        "rms.bwd": (lambda t: (t["dy"], t["x"], t["weight"], column(t, "rstd")), compiled(rms_backward_alone)),
        "addrms.bwd": (lambda t: (t["dy"], t["dresidual_out"], t["x"], t["weight"], column(t, "rstd")), compiled(rms_backward_added)),
    }[op]


# ---------------------------------------------------------------- Liger

def liger(op, n):
    if n > 65536:
        raise Missing("rows of 65536 elements at most")
    rms, ln, add = (importlib.import_module(f"liger_kernel.ops.{m}") for m in ("rms_norm", "layer_norm", "fused_add_rms_norm"))

    def rms_saved(t):
        _, x, rstd, block, warps, mode = rms.rms_norm_forward(t["x"], t["weight"], EPS, 0.0, "llama", None)
        return t["dy"], x, t["weight"], rstd, 0.0, mode, block, warps, False, None

    def add_saved(t):
        zero = torch.zeros_like(t["x"])
        _, s, rstd, block, warps, stages, mode = add.fused_add_rms_norm_forward(t["x"], zero, t["weight"], EPS, 0.0, "llama")
        return t["dy"], t["dresidual_out"], s, t["weight"], rstd, 0.0, mode, block, warps, stages, False

    def add_backward(*saved):
        dx, _, dweight = add.fused_add_rms_norm_backward(*saved)[:3]
        return dx, dweight

    return {
        "ln.fwd": (lambda t: (t["x"], t["weight"], t["bias"], EPS), lambda *a: ln.layer_norm_forward(*a)),
        "rms.fwd": (lambda t: (t["x"], t["weight"], EPS, 0.0, "llama", None), lambda *a: rms.rms_norm_forward(*a)),
        "addrms.fwd": (lambda t: (t["x"], t["residual"], t["weight"], EPS, 0.0, "llama"), lambda *a: add.fused_add_rms_norm_forward(*a)[:2]),
        "ln.bwd": (lambda t: (t["dy"], t["x"], t["weight"], zero(t), t["mean"], t["rstd"]), lambda *a: ln.layer_norm_backward(*a)),
        "rms.bwd": (rms_saved, lambda *a: rms.rms_norm_backward(*a)[:2]),
        "addrms.bwd": (add_saved, add_backward),
    }[op]


# ---------------------------------------------------------------- QuACK

def quack(op, n):
    del n
    q = importlib.import_module("quack.rmsnorm")

    def ln_forward(x, weight, bias):
        y, rstd, mean = torch.empty_like(x), x.new_empty(x.shape[0], dtype=torch.float32), x.new_empty(x.shape[0], dtype=torch.float32)
        q._rmsnorm_fwd(x, weight, y, bias, rstd, mean, None, None, EPS, True)  # the public one takes fp32 weights alone
        return y, rstd, mean

    return {
        "ln.fwd": (lambda t: (t["x"], t["weight"], t["bias"]), ln_forward),
        "rms.fwd": (lambda t: (t["x"], t["weight"]), lambda x, w: q.rmsnorm_fwd(x, w, eps=EPS, store_rstd=True)),
        "addrms.fwd": (lambda t: (t["x"], t["residual"], t["weight"]), lambda x, r, w: q.rmsnorm_fwd(x, w, residual=r, eps=EPS)[:2]),
        "ln.bwd": (lambda t: (t["x"], t["weight"], t["dy"], t["rstd"], t["mean"]), lambda *a: q.layernorm_bwd(*a, True)),
        "rms.bwd": (lambda t: (t["x"], t["weight"], t["dy"], t["rstd"]), lambda *a: q.rmsnorm_bwd(*a)[:2]),
        "addrms.bwd": (lambda t: (t["x"], t["weight"], t["dy"], t["rstd"], t["dresidual_out"]), lambda *a: q.rmsnorm_bwd(*a, False, True)),
    }[op]


# ---------------------------------------------------------------- cuDNN, through its frontend

class Cudnn:
    """One graph, built from the first call's tensors, with the fastest of the plans that cuDNN's heuristics list first.

    define(cudnn, graph, inputs) returns the outputs' symbols.
    """

    handle = None

    def __init__(self, define, scalars=0):
        self.cudnn = importlib.import_module("cudnn")
        self.types = {torch.bfloat16: self.cudnn.data_type.BFLOAT16, torch.float16: self.cudnn.data_type.HALF, torch.float32: self.cudnn.data_type.FLOAT}
        if Cudnn.handle is None:
            Cudnn.handle = self.cudnn.create_handle()
        self.define, self.graph = define, None
        self.epsilon = [torch.full((1, 1, 1, 1), EPS)] * scalars

    def build(self, inputs, outputs):
        cudnn, single = self.cudnn, self.cudnn.data_type.FLOAT
        g = self.graph = cudnn.pygraph(io_data_type=single, intermediate_data_type=single, compute_data_type=single, handle=self.handle)
        symbols = [g.tensor(name=f"in{i}", dim=list(t.shape), stride=list(t.stride()), data_type=self.types[t.dtype]) for i, t in enumerate(inputs)]
        symbols += [g.tensor(name="epsilon", dim=[1] * 4, stride=[1] * 4, data_type=single, is_pass_by_value=True) for _ in self.epsilon]
        results = self.define(cudnn, g, symbols)
        for symbol, t in zip(results, outputs):
            symbol.set_output(True).set_data_type(self.types[t.dtype])
        g.validate()
        g.build_operation_graph()
        g.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        g.check_support()
        self.order = symbols + list(results)
        times = {}
        for plan in range(min(CUDNN_PLANS, g.get_execution_plan_count())):
            try:
                times[plan] = self.time_plan(plan, inputs, outputs)
            except Exception:  # a plan that this GPU or shape cannot have
                continue
        self.select(min(times, key=times.get) if times else 0)

    def select(self, plan):
        self.graph.build_plan_at_index(plan)
        self.workspace = max(1, self.graph.get_workspace_size())

    def time_plan(self, plan, inputs, outputs):
        self.select(plan)
        for _ in range(3):
            self.execute(inputs, outputs)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(10):
            self.execute(inputs, outputs)
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end)

    def __call__(self, inputs, outputs):
        if self.graph is None:
            self.build(inputs, outputs)
        self.execute(inputs, outputs)

    def execute(self, inputs, outputs):
        workspace = torch.empty(self.workspace, device="cuda", dtype=torch.uint8)
        self.cudnn.set_stream(handle=self.handle, stream=torch.cuda.current_stream().cuda_stream)
        self.graph.execute(dict(zip(self.order, inputs + self.epsilon + outputs)), workspace, handle=self.handle)


def cudnn(op, n):
    importlib.import_module("cudnn")

    def four(t):  # (rows, n, 1, 1); a vector is one row
        return t.view(-1, t.shape[-1], 1, 1) if t.dim() == 2 else t.view(1, -1, 1, 1)

    def statistic(x):
        return torch.empty(x.shape[0], 1, 1, 1, device=x.device)

    def column(t):
        return t.view(-1, 1, 1, 1)

    phase = {"norm_forward_phase": importlib.import_module("cudnn").norm_forward_phase.TRAINING}
    if op == "ln.fwd":
        graph = Cudnn(lambda _, g, s: g.layernorm(name="ln", input=s[0], scale=s[1], bias=s[2], epsilon=s[3], **phase), scalars=1)

        def run(x, weight, bias):
            y, mean, rstd = torch.empty_like(x), statistic(x), statistic(x)
            graph([four(x), four(weight), four(bias)], [four(y), mean, rstd])
            return y, mean, rstd
        return lambda t: (t["x"], t["weight"], t["bias"]), run
    if op == "rms.fwd":
        graph = Cudnn(lambda _, g, s: g.rmsnorm(name="rms", input=s[0], scale=s[1], epsilon=s[2], **phase), scalars=1)

        def run(x, weight):
            y, rstd = torch.empty_like(x), statistic(x)
            graph([four(x), four(weight)], [four(y), rstd])
            return y, rstd
        return lambda t: (t["x"], t["weight"]), run
    if op == "ln.bwd":
        graph = Cudnn(lambda _, g, s: g.layernorm_backward(name="lnb", grad=s[0], input=s[1], scale=s[2], mean=s[3], inv_variance=s[4]))

        def run(dy, x, weight, mean, rstd):
            dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
            graph([four(dy), four(x), four(weight), column(mean), column(rstd)], [four(dx), four(dweight), four(dbias)])
            return dx, dweight, dbias
        return lambda t: (t["dy"], t["x"], t["weight"], t["mean"], t["rstd"]), run
    if op == "rms.bwd":
        graph = Cudnn(lambda _, g, s: g.rmsnorm_backward(name="rmsb", grad=s[0], input=s[1], scale=s[2], inv_variance=s[3], has_dbias=False)[:2])

        def run(dy, x, weight, rstd):
            dx, dweight = torch.empty_like(x), torch.empty_like(weight)
            graph([four(dy), four(x), four(weight), column(rstd)], [four(dx), four(dweight)])
            return dx, dweight
        return lambda t: (t["dy"], t["x"], t["weight"], t["rstd"]), run
    raise Missing(f"no {op}")


PEERS = {"torch": torch_eager, "torch.compile": torch_compile, "liger": liger, "quack": quack, "cudnn": cudnn}
