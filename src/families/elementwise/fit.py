#!/usr/bin/env python3
"""The coefficients of functions.h and of 2^v in cpu/passes.inl.h, with the largest error of each fit.

Least squares, weighted by what an error does to the result and reweighted until the largest error is least (Lawson's algorithm).
Needs NumPy.
"""
import math
from math import erf, erfc, tanh

import numpy


def nodes(begin, end, count=400):
    return [(begin + end) / 2 + (end - begin) / 2 * math.cos(math.pi * (k + 0.5) / count) for k in range(count)]


def fit(title, degree, function, power, weight, points):
    """function(v) as a polynomial of this degree in power(v); weight(v): the result's relative error for an error of 1."""
    matrix = numpy.array([[power(v) ** k for k in range(degree + 1)] for v in points])
    values, weights = numpy.array([function(v) for v in points]), numpy.array([weight(v) for v in points])
    shares, least = numpy.ones(len(points)), (math.inf, None)
    for _ in range(200):
        scale = numpy.sqrt(shares) * weights
        coefficients = numpy.linalg.lstsq(matrix * scale[:, None], values * scale, rcond=None)[0]
        errors = numpy.abs((matrix @ coefficients - values) * weights)
        if errors.max() < least[0]:
            least = errors.max(), coefficients
        shares *= errors + 1e-300
        shares /= shares.sum()
    print(f"{title}: error 2^{math.log2(least[0]):.2f}, constant first:", *(float(numpy.float32(c)).hex() for c in least[1]))


def square(v):
    return v * v


def same(v):
    return v


fit("tanh(u) = u + u^3 p(u^2), |u| < 0.55", 3, lambda u: (tanh(u) / u - 1) / (u * u), square, lambda u: u**3 / tanh(u), nodes(1e-3, 0.55))
fit("erf(u) = u + u p(u^2), |u| < 0.9", 5, lambda u: erf(u) / u - 1, square, lambda u: u / erf(u), nodes(1e-3, 0.9))
fit("log2(erfc(u)) = p(u), u from 0.9 to where erf rounds to 1", 5, lambda u: math.log2(erfc(u)), same,
    lambda u: max(erfc(u), 1e-12) * math.log(2) / erf(u), nodes(0.9, 3.95))
fit("2^f = 1 + f p(f), |f| <= 1/2", 5, lambda f: (2**f - 1) / f, same, lambda f: abs(f) / 2**f, [f for f in nodes(-0.5, 0.5) if abs(f) > 1e-4])
