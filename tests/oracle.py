"""layer_norm and rms_norm as docs/numerics.md states them, bit for bit; written from that page alone.
Activations are arrays [rows, n], saved statistics [rows, 1]; uint16 holds bf16.  Run under np.errstate(all="ignore")."""
import numpy as np

def load(a, F):
    return (a.astype(np.uint32) << 16).view(np.float32).astype(F) if a.dtype == np.uint16 else a.astype(F)
def store(v, T):
    bits = np.ascontiguousarray(v, np.float32).view(np.uint32)
    bf16 = np.where(np.isnan(v), 0x7FC0, (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16)
    return (bf16 if T == np.uint16 else v).astype(T)
def weights(w, offset, F):
    return load(w, F) + F(offset) if F(offset) else load(w, F)
def tree(a):  # over the last axis, bit 0 first, padded with +0.0 to a power of two
    a = np.concatenate([a, np.zeros((*a.shape[:-1], (1 << (a.shape[-1] - 1).bit_length()) - a.shape[-1]), a.dtype)], -1)
    while a.shape[-1] > 1:
        a = a[..., 0::2] + a[..., 1::2]
    return a[..., 0]
def S(v):  # the row tree; short rows leave out lanes without elements
    rows, n = v.shape
    deep, lanes, segments = min(4, -(-n // 256)) or 1, min(256, n) or 1, -(-n // 1024) or 1
    v = np.pad(v, ((0, 0), (0, segments * deep * lanes - n))).reshape(rows, segments, deep, lanes)
    return tree(tree(sum((v[:, :, i] for i in range(deep)), np.zeros_like(v[:, :, 0]))))[:, None]

def layer_statistics(s):  # mean, lo, lo2, moment, var of a row, or a chunk, of at most 262144 elements
    F, N = s.dtype.type, s.dtype.type(s.shape[1])
    d = s - (mean := S(s) / N)
    lo, moment = S(d) / N, S(d * d) / N
    var, e = moment - lo * lo, d - lo
    again, lo2 = lo * lo > var * F(0.25), S(e) / N
    return mean, lo, np.where(again, lo2, F(0)), moment, np.where(again, S(e * e) / N - lo2 * lo2, var)
def two_sum(a, b):  # the sum and what its rounding lost
    taken = (s := a + b) - a
    return s, (a - (s - taken)) + (b - taken)
def parent(F, a, b):
    (an, a_mean, a_lo, a_M), (bn, b_mean, b_lo, b_M) = a, b
    f, delta = F(bn) / F(an + bn), (b_mean - a_mean) + (b_lo - a_lo)
    mean, lost = two_sum(a_mean, delta * f)
    return an + bn, mean, a_lo + lost, (a_M + b_M) + (delta * delta) * (F(an) * f)

def statistics(s, layer, chunk=262144):  # of whole rows
    F, n, zero = s.dtype.type, s.shape[1], np.zeros((len(s), 1), s.dtype)
    if not layer:
        return (zero, zero, zero) + (S(s * s) / F(n),) * 2
    if n <= chunk:
        return layer_statistics(s)
    nodes = [(c.shape[1], mean, lo + lo2, var * F(c.shape[1])) for c in np.split(s, range(chunk, n, chunk), 1)
             for mean, lo, lo2, _, var in [layer_statistics(c)]]
    while len(nodes) > 1:
        nodes = [parent(F, *pair) for pair in zip(nodes[0::2], nodes[1::2])] + nodes[len(nodes) & ~1:]
    return nodes[0][1], nodes[0][2], zero, nodes[0][3] / F(n), nodes[0][3] / F(n)

def forward(layer, x, eps, weight=None, bias=None, offset=0.0, then_multiply=False, residual=None, post_residual=None):
    F, limit, room = (np.float64, 2.0**960, 959) if x.dtype == np.float64 else (np.float32, np.float32(2.0**96), 95)
    residual_out = x if residual is None else store(load(x, F) + load(residual, F), residual.dtype)
    s, eps = load(residual_out, F), F(eps)
    mean, lo, lo2, moment, var = statistics(s, layer)
    top, varies = np.max(abs(s), 1, keepdims=True, initial=0), np.any(s - mean != 0, 1, keepdims=True)
    taken = ~((moment >= 1 / limit) & (moment <= limit)) & np.isfinite(top) & (top != 0) & ((moment != 0) | varies)
    k = np.where(taken, 1 - np.frexp(top)[1].astype(np.int64), 0)
    k = np.where((k > 0) & (eps != 0), np.minimum(k, max((room + 1 - int(np.frexp(abs(eps))[1])) // 2, 0)), k)
    p1, p2, m1, m2 = (np.ldexp(F(1), e) for e in (k // 2, k - k // 2, -(k // 2), k // 2 - k))
    mean, lo, lo2, _, var = statistics(s := (s * p1) * p2, layer)  # where k = 0, the same again
    flat = (k < 0) & (var == 0)
    rstd = F(1) / np.sqrt(np.where(flat, eps, var + (((eps * p1) * p2) * p1) * p2))
    xhat = np.where(lo2 != 0, ((s - mean) - lo) - lo2, (s - mean) - lo) * rstd  # RMSNorm: subtracts +0.0, which is exact
    R = (lambda v: load(store(v, x.dtype), F)) if then_multiply else (lambda v: v)
    v = R(xhat) if weight is None else R(R(xhat) * weights(weight, offset, F))
    v = v if bias is None else R(v + load(bias, F))
    v = v if post_residual is None else v + load(post_residual, F)
    return store(v, x.dtype), ((mean + (lo + lo2)) * m1) * m2, np.where(flat, rstd, (rstd * p1) * p2), residual_out

def join(a, a_lo, b, b_lo):  # of two wide sums
    return (s := two_sum(a, b))[0], (a_lo + b_lo) + s[1]
def column_sums(v, T):  # of dweight and dbias
    F, (rows, n), length = v.dtype.type, v.shape, 1 << max(v.shape[1] - 1, 127).bit_length()
    P = min(max(16, 2 ** 19 // length), -(-rows // 4) or 1)
    steps, (hi, lo) = -(-rows // (4 * P)) or 1, np.zeros((2, P, n))  # wide sums; fp32 terms leave lo out
    t = np.pad(v, ((0, 4 * P * steps - rows), (0, 0))).reshape(steps, P, 4, n)
    for b in range(0, steps, 32):
        groups = ((g[:, 0] + g[:, 1]) + (g[:, 2] + g[:, 3]) for g in t[b:b + 32])
        hi, lo = join(hi, lo, sum(groups, np.zeros_like(t[0, :, 0])).astype(np.float64), 0.0)
    while len(hi) > 1:  # padded: +0.0 changes no sum
        hi, lo = (np.pad(x, ((0, len(x) % 2), (0, 0))) for x in (hi, lo))
        hi, lo = join(hi[0::2], lo[0::2], hi[1::2], lo[1::2])
    return store(np.where(np.isfinite(hi) & (F == np.float64), hi + lo, hi)[0].astype(F), T)

def backward(layer, x, mean, rstd, dy, weight=None, offset=0.0, dresidual_out=None, dweight_type=np.float32):
    F, huge = (np.float64, 2.0**1000) if dy.dtype == np.float64 else (np.float32, np.float32(2.0**100))
    N, h, T, dy = F(x.shape[1]), load(x, F), dy.dtype, load(dy, F)
    half = np.where(abs(mean) >= huge, F(0.5), F(1)) if layer else F(1)
    h = (h * half - mean * half) * (rstd / half) if layer else h * rstd
    g = dy if weight is None else dy * weights(weight, offset, F)
    B, lo = (S(g), S(h) / N) if layer else (F(0), np.zeros_like(rstd))  # the zeros leave RMSNorm's formulas
    once_more = np.where(again := abs(lo) > F(0.5), h - lo, h)
    A, lo2 = S(g * once_more), np.where(again, S(once_more) / N, F(0))
    c1, c2, h = (A - np.where(again, lo2, lo) * B) / N, B / N, np.where(lo2 != 0, (h - lo) - lo2, h - lo)
    v = rstd * ((g - c2) - h * c1)
    v = v if dresidual_out is None else v + load(dresidual_out, F)
    return store(v, T), store(v, x.dtype), column_sums(dy * h, dweight_type), column_sums(dy, dweight_type)
