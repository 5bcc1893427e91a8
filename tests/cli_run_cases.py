"""What kilter run computes and writes: ops, directions, types, files as others write them."""
import json
import math
import struct

from cli_case import BAD_FILE, INVALID, USAGE, CliTest, npy, data, with_header, load, bf16, from_bf16, layer_norm


class RunTest(CliTest):
    def test_layer_norm_forward(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--weight", "w.npy", "--bias", "b.npy", "--y", "y.npy", "--mean", "m.npy", "--rstd", "r.npy")
        descr, shape, y = load(self.dir / "y.npy")
        self.assertEqual((descr, shape), ("<f4", (self.rows, self.n)))
        self.assertEqual(load(self.dir / "m.npy")[:2], ("<f4", (self.rows,)))
        for r in range(self.rows):
            want, mean, rstd = layer_norm(self.x[r * self.n:(r + 1) * self.n], self.w, self.b)
            self.near(y[r * self.n:(r + 1) * self.n], want)
            self.near([load(self.dir / "m.npy")[2][r], load(self.dir / "r.npy")[2][r]], [mean, rstd])

    def forward(self, op="layer_norm"):
        mean = ["--mean", "m.npy"] if op == "layer_norm" else []
        self.kilter("run", op, "--x", "x.npy", "--weight", "w.npy", "--y", "y.npy", *mean, "--rstd", "r.npy")
        return mean

    def test_backward_of_both_ops(self):
        for op in ("layer_norm", "rms_norm"):
            mean = self.forward(op)
            done = self.kilter("run", op, "--backward", "--x", "x.npy", "--weight", "w.npy", *mean, "--rstd", "r.npy", "--dy", "dy.npy",
                               "--dx", "dx.npy", "--dweight", "dw.npy", "--dbias", "db.npy", "--json")
            self.assertEqual([o["name"] for o in json.loads(done.out)["outputs"]], ["dx", "dweight", "dbias"])
            self.near(load(self.dir / "db.npy")[2], [math.fsum(self.dy[i::self.n]) for i in range(self.n)])
            rstd = load(self.dir / "r.npy")[2]
            means = load(self.dir / "m.npy")[2] if mean else [0] * self.rows
            xhat = [(v - means[i // self.n]) * rstd[i // self.n] for i, v in enumerate(self.x)]
            dw = [math.fsum(self.dy[r * self.n + i] * xhat[r * self.n + i] for r in range(self.rows)) for i in range(self.n)]
            self.near(load(self.dir / "dw.npy")[2], dw)
            dx = load(self.dir / "dx.npy")[2]
            for r in range(self.rows):
                span = range(r * self.n, (r + 1) * self.n)
                g = [self.dy[i] * self.w[i % self.n] for i in span]
                c1 = math.fsum(a * xhat[i] for a, i in zip(g, span)) / self.n
                c2 = math.fsum(g) / self.n if mean else 0
                self.near(dx[r * self.n:(r + 1) * self.n], [rstd[r] * (a - c2 - xhat[i] * c1) for a, i in zip(g, span)])

    def test_residuals_and_dashes(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--residual", "dy.npy", "--residual-out", "s.npy", "--post-residual", "x.npy", "--y", "y.npy")
        sums = [struct.unpack("<f", struct.pack("<f", a + b))[0] for a, b in zip(self.x, self.dy)]
        self.assertEqual(list(load(self.dir / "s.npy")[2]), sums)
        want = [v for r in range(self.rows) for v in layer_norm(sums[r * self.n:(r + 1) * self.n], [1] * self.n, [0] * self.n)[0]]
        self.near(load(self.dir / "y.npy")[2], [a + b for a, b in zip(want, self.x)])

    def test_adaptive_layer_norm(self):
        put = lambda name, values, *shape, descr="<f4": self.put(name, npy(values, shape, descr))
        put("a.npy", [1, 3, 2, 6, 5, 1, 0, 8], 2, 2, 2)
        put("scale.npy", [1, 0, -0.5, 3], 2, 1, 2)
        put("shift.npy", [10, 20, 30, 40], 2, 1, 2)
        want = [8, 21, 8, 21, 30.5, 36, 29.5, 44]
        statistics = ["--mean", "m.npy", "--rstd", "r.npy"]
        self.kilter("run", "adaptive_layer_norm", "--x", "a.npy", "--scale", "scale.npy", "--shift", "shift.npy", "--eps", "0", "--y", "y.npy", *statistics)
        self.assertEqual(load(self.dir / "y.npy"), ("<f4", (2, 2, 2), tuple(want)))
        put("d.npy", [1, 2, 3, 4, 5, 6, 7, 8], 2, 2, 2)
        gradients = ["--dx", "dx.npy", "--dscale", "ds.npy", "--dshift", "dh.npy"]
        self.kilter("run", "adaptive_layer_norm", "--backward", "--x", "a.npy", "--scale", "scale.npy", *statistics, "--dy", "d.npy", *gradients)
        self.assertEqual(load(self.dir / "ds.npy"), ("<f4", (2, 1, 2), (-4, 6, -2, 2)))
        self.assertEqual(load(self.dir / "dh.npy"), ("<f4", (2, 1, 2), (4, 6, 12, 14)))
        put("scale.npy", [1, 0, 9, 9, -0.5, 3], 3, 2)  # by segments, the second of which has no rows
        put("shift.npy", [10, 20, 9, 9, 30, 40], 3, 2)
        put("gate.npy", [0] * 6, 3, 2)
        for descr in ("<i4", "<i8", ">i4", ">i8"):
            self.put("lengths.npy", npy([0, 2, 2, 4], (4,), "<" + descr[1:]) if descr[0] == "<" else
                     with_header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (4,), }}", struct.pack(">4" + {">i4": "i", ">i8": "q"}[descr], 0, 2, 2, 4)))
            by = ["--scale", "scale.npy", "--segments", "lengths.npy"]
            self.kilter("run", "adaptive_layer_norm", "--x", "d.npy", "--residual", "a.npy", "--gate", "gate.npy", *by, "--shift", "shift.npy", "--eps", "0",
                        "--residual-out", "s.npy", "--y", "y.npy", *statistics)
            self.assertEqual(load(self.dir / "y.npy")[2], tuple(want))
            self.assertEqual(load(self.dir / "s.npy")[2], load(self.dir / "a.npy")[2])
            self.kilter("run", "adaptive_layer_norm", "--backward", "--x", "a.npy", *by, *statistics, "--dy", "d.npy", *gradients)
            self.assertEqual(load(self.dir / "ds.npy"), ("<f4", (3, 2), (-4, 6, 0, 0, -2, 2)))
        self.kilter("run", "adaptive_layer_norm", "--x", "a.npy", *by, "--norm", "rms", "--y", "y.npy", "--rstd", "r.npy")
        put("lengths.npy", [0, 2, 2, 3], 4, descr="<i4")
        done = self.kilter("run", "adaptive_layer_norm", "--x", "a.npy", *by, "--y", "y.npy", expect=INVALID)
        self.assertIn("segments: expected lengths that add up to 4 rows, got 3", done.err)
        put("lengths.npy", [0, 2, 2, 4], 4)
        done = self.kilter("run", "adaptive_layer_norm", "--x", "a.npy", *by, "--y", "y.npy", expect=BAD_FILE)
        self.assertIn("expected '<i4' or '<i8', got '<f4'", done.err)
        self.put("lengths.npy", npy([1, 2], (2,), "<i4"))
        self.kilter("run", "rms_norm", "--x", "lengths.npy", "--y", "y.npy", expect=BAD_FILE)

    def test_types(self):
        for descr, flag, tolerance in (("<f8", [], 1e-12), ("<f2", [], 2e-3), ("<u2", ["--x-dtype", "bf16"], 1e-2)):
            values = [bf16(v) for v in self.x] if descr == "<u2" else self.x
            self.put("t.npy", npy(values, (self.rows, self.n), descr))
            x = [from_bf16(v) for v in values] if descr == "<u2" else load(self.dir / "t.npy")[2]
            self.kilter("run", "rms_norm", "--x", "t.npy", "--y", "y.npy", "--rstd", "r.npy", *flag)
            got, shape, y = load(self.dir / "y.npy")
            self.assertEqual((got, shape), (descr, (self.rows, self.n)))
            self.assertEqual(load(self.dir / "r.npy")[0], "<f8" if descr == "<f8" else "<f4")
            y = [from_bf16(v) for v in y] if descr == "<u2" else y
            for r in range(self.rows):
                row = x[r * self.n:(r + 1) * self.n]
                rstd = 1 / math.sqrt(math.fsum(v * v for v in row) / self.n + 1e-5)
                self.near(y[r * self.n:(r + 1) * self.n], [v * rstd for v in row], tolerance)

    def test_options_reach_the_op(self):
        self.kilter("run", "rms_norm", "--x", "x.npy", "--y", "y1.npy", "--eps", "1", "--threads", "2", "--impl", "reference:f64", "--backend", "cpu")
        self.kilter("run", "rms_norm", "--x", "x.npy", "--y", "y2.npy")
        self.assertNotEqual(load(self.dir / "y1.npy")[2], load(self.dir / "y2.npy")[2])
        self.put("w0.npy", npy([0.0] * self.n, (self.n,)))
        self.kilter("run", "rms_norm", "--x", "x.npy", "--y", "y3.npy", "--weight", "w0.npy", "--weight_offset", "1")
        self.assertEqual(load(self.dir / "y3.npy")[2], load(self.dir / "y2.npy")[2])
        half = [bf16(v) for v in self.x]
        self.put("h.npy", npy(half, (self.rows, self.n), "<u2"))
        y = []
        for rounding in ("once", "then-multiply"):
            self.kilter("run", "rms_norm", "--x", "h.npy", "--x-dtype", "bf16", "--weight", "w.npy", "--y", "y.npy", "--rounding", rounding)
            y.append(load(self.dir / "y.npy")[2])
        self.assertNotEqual(*y)

    def test_ranks_and_empty_arrays(self):
        for shape, stats in (((5,), ()), ((2, 3, 4), (2, 3)), ((0, 4), (0,)), ((3, 0), (3,)), ((1, 1, 1, 6), (1, 1, 1))):
            self.put("t.npy", npy([1.0] * math.prod(shape), shape))
            self.kilter("run", "layer_norm", "--x", "t.npy", "--y", "y.npy", "--mean", "m.npy")
            self.assertEqual(load(self.dir / "y.npy")[1], shape)
            self.assertEqual(load(self.dir / "m.npy")[1], stats)

    def test_bf16_as_others_save_it(self):
        words = [bf16(v) for v in self.x]
        self.put("u.npy", npy(words, (self.rows, self.n), "<u2"))
        self.put("uw.npy", npy([bf16(v) for v in self.w], (self.n,), "<u2"))
        self.kilter("run", "rms_norm", "--x", "u.npy", "--weight", "uw.npy", "--x-dtype", "bf16", "--y", "want.npy")
        for descr in ("<V2", "|V2", "<i2", ">u2", ">V2"):  # in any tensor
            order = ">" if descr[0] == ">" else "<"
            for name, shape, values in (("x.npy", (self.rows, self.n), words), ("w.npy", (self.n,), [bf16(v) for v in self.w])):
                dims = ", ".join(map(str, shape)) + ","
                self.put(name, with_header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims})}}", struct.pack(f"{order}{len(values)}H", *values)))
            self.kilter("run", "rms_norm", "--x", "x.npy", "--weight", "w.npy", "--x-dtype", "bf16", "--y", "y.npy")
            self.assertEqual(load(self.dir / "y.npy"), load(self.dir / "want.npy"))

    def test_orders_of_bytes_and_elements(self):
        for descr, code in (("f4", "f"), ("f8", "d"), ("f2", "e")):
            shape = (2, 3, 5)
            values = [self.x[i] for i in range(30)]
            self.put("c.npy", npy(values, shape, "<" + descr))
            self.kilter("run", "layer_norm", "--x", "c.npy", "--y", "want.npy")
            fortran = [values[(i * 3 + j) * 5 + k] for k in range(5) for j in range(3) for i in range(2)]
            for order in "<>":
                for elements, is_fortran in ((values, False), (fortran, True)):
                    text = f"{{'descr': '{order}{descr}', 'fortran_order': {is_fortran}, 'shape': {shape}}}"
                    self.put("t.npy", with_header(text, struct.pack(f"{order}30{code}", *elements)))
                    self.kilter("run", "layer_norm", "--x", "t.npy", "--y", "y.npy")
                    self.assertEqual(load(self.dir / "y.npy"), load(self.dir / "want.npy"))
        for shape in ((0, 4), (3, 0, 2)):
            self.put("t.npy", with_header(f"{{'descr': '>f4', 'fortran_order': True, 'shape': {shape}}}", b""))
            self.kilter("run", "layer_norm", "--x", "t.npy", "--y", "y.npy")
            self.assertEqual(load(self.dir / "y.npy")[1], shape)

    def test_dweight_dtype(self):
        half = npy([bf16(v) for v in self.x], (self.rows, self.n), "<u2")
        self.put("h.npy", half)
        self.put("hw.npy", npy([bf16(v) for v in self.w], (self.n,), "<u2"))
        flags = ["--x-dtype", "bf16"]
        self.kilter("run", "rms_norm", "--x", "h.npy", "--weight", "hw.npy", "--y", "y.npy", "--rstd", "r.npy", *flags)
        for name, descr in (("fp32", "<f4"), ("weight", "<u2")):
            self.kilter("run", "rms_norm", "--backward", "--x", "h.npy", "--weight", "hw.npy", "--rstd", "r.npy", "--dy", "h.npy", "--dweight", "dw.npy",
                        "--dweight-dtype", name, *flags)
            self.assertEqual(load(self.dir / "dw.npy")[0], descr)

    def test_fp32_residual_stream(self):
        self.put("h.npy", npy([bf16(v) for v in self.x], (self.rows, self.n), "<u2"))
        self.kilter("run", "rms_norm", "--x", "h.npy", "--residual", "dy.npy", "--residual_out", "s.npy", "--y", "y.npy", "--rstd", "r.npy", "--x-dtype", "bf16")
        self.kilter("run", "rms_norm", "--backward", "--x", "s.npy", "--rstd", "r.npy", "--dy", "h.npy", "--dx", "dx.npy", "--dresidual", "dr.npy",
                    "--x-dtype", "bf16")
        self.assertEqual((load(self.dir / "dx.npy")[0], load(self.dir / "dr.npy")[0]), ("<u2", "<f4"))

    def test_versions_two_and_three(self):
        text = "{\"descr\": \"<f4\", 'shape': (1, 2), 'fortran_order': False}"
        for version in ((1, 0), (2, 0), (3, 0)):
            self.put("v.npy", with_header(text, data([1.0, 3.0]), version))
            self.kilter("run", "layer_norm", "--x", "v.npy", "--y", "y.npy")
            self.near(load(self.dir / "y.npy")[2], [-1, 1])
        self.put("v.npy", with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", data([1.0, 3.0])))
        self.kilter("run", "layer_norm", "--x", "v.npy", "--y", "y.npy")  # one dimension has one order

    def batch_norm(self, *args, **kwargs):
        return self.kilter("run", "batch_norm", "--x", "x.npy", *args, **kwargs)

    # Of [rows, n], whose columns are the channels.
    def column(self, c):
        return self.x[c::self.n]

    def test_batch_norm_in_training(self):
        means, variances = [0.5] * self.n, [2.0] * self.n
        self.put("m.npy", npy(means, (self.n,)))
        self.put("v.npy", npy(variances, (self.n,)))
        running = ("--running-mean", "m.npy", "--running_var", "v.npy")
        for tracked, options in ((None, ("--momentum", 0.25)), (3, ("--averaging", "cumulative", "--batches-tracked", 3))):
            share = 0.25 if tracked is None else 1 / (tracked + 1)
            self.batch_norm("--training", *options, *running, "--running-mean-out", "mo.npy", "--running_var_out", "vo.npy", "--y", "y.npy", "--mean",
                            "mean.npy", "--rstd", "rstd.npy")
            mean = [math.fsum(self.column(c)) / self.rows for c in range(self.n)]
            square = [math.fsum((v - mean[c]) ** 2 for v in self.column(c)) for c in range(self.n)]
            self.near(load(self.dir / "mean.npy")[2], mean)
            self.near(load(self.dir / "mo.npy")[2], [(1 - share) * 0.5 + share * v for v in mean])
            self.near(load(self.dir / "vo.npy")[2], [(1 - share) * 2 + share * v / (self.rows - 1) for v in square])
            y = [(v - mean[i % self.n]) / math.sqrt(square[i % self.n] / self.rows + 1e-5) for i, v in enumerate(self.x)]
            self.near(load(self.dir / "y.npy")[2], y)
        self.batch_norm("--training", "--weight", "w.npy", "--backward", "--mean", "mean.npy", "--rstd", "rstd.npy", "--dy", "dy.npy", "--dx", "dx.npy",
                        "--dweight", "dw.npy", "--dbias", "db.npy")
        db = [math.fsum(self.dy[c::self.n]) for c in range(self.n)]
        dw = [math.fsum(a * b for a, b in zip(self.dy[c::self.n], y[c::self.n])) for c in range(self.n)]
        self.near(load(self.dir / "db.npy")[2], db)
        self.near(load(self.dir / "dw.npy")[2], dw, 1e-4)
        scale = [self.w[c] / math.sqrt(square[c] / self.rows + 1e-5) for c in range(self.n)]
        dx = [scale[i % self.n] * (d - (db[i % self.n] + y[i] * dw[i % self.n]) / self.rows) for i, d in enumerate(self.dy)]
        self.near(load(self.dir / "dx.npy")[2], dx, 1e-3)

    def test_masks(self):
        place = ("--activation", "relu", "--training", "--mean", "mean.npy", "--rstd", "rstd.npy", "--mask", "mask.npy")
        for layout, shape in (("nchw", (self.rows, 1, 37)), ("nhwc", (self.rows, 1, 37)), ("nhwc", (self.rows, 37, 1))):
            self.put("t.npy", npy(self.x, shape)), self.put("g.npy", npy(self.dy, shape))
            self.kilter("run", "batch_norm", "--x", "t.npy", *place, "--y", "y.npy", "--layout", layout)
            y = load(self.dir / "y.npy")[2]
            above = [y[r * 37:(r + 1) * 37] for r in range(self.rows)]
            want = [sum((v > 0) << k for k, v in enumerate(row[i:i + 8])) for row in above for i in range(0, 37, 8)]
            self.assertEqual(load(self.dir / "mask.npy"), ("|u1", (self.rows, 5), tuple(want)), (layout, shape))
            self.kilter("run", "batch_norm", "--backward", "--x", "t.npy", *place, "--dy", "g.npy", "--dresidual", "u.npy", "--layout", layout)
            self.assertEqual(load(self.dir / "u.npy")[2], tuple(d if v > 0 else 0 for d, v in zip(load(self.dir / "g.npy")[2], y)))
        err = self.batch_norm("--training", "--y", "y.npy", "--mask", "mask2.npy", expect=INVALID).err
        self.assertIn("batch_norm: mask: expected none unless activation is relu", err)
        self.put("short.npy", npy([0] * 12, (self.rows, 4), "|u1"))
        err = self.kilter("run", "batch_norm", "--backward", "--x", "t.npy", "--activation", "relu", "--training", "--mean", "mean.npy", "--rstd", "rstd.npy",
                          "--mask", "short.npy", "--dy", "g.npy", "--dx", "dx.npy", "--layout", "nhwc", expect=INVALID).err
        self.assertIn(f"mask.shape: expected [{self.rows}, 5], got [{self.rows}, 4]", err)

    def test_inference_by_running_statistics(self):
        self.put("m.npy", npy([0.5] * self.n, (self.n,)))
        self.put("v.npy", npy([4.0] * self.n, (self.n,)))
        running = ("--running-mean", "m.npy", "--running-var", "v.npy")
        want = [(v - 0.5) / math.sqrt(4 + 1e-5) for v in self.x]
        self.batch_norm(*running, "--y", "y.npy")
        self.near(load(self.dir / "y.npy")[2], want)
        self.put("x3.npy", npy(self.x, (self.rows, self.n, 1)))
        self.kilter("run", "instance_norm", "--x", "x3.npy", "--inference", *running, "--y", "y.npy")
        self.near(load(self.dir / "y.npy")[2], want)
        self.batch_norm(*running, "--backward", "--dy", "dy.npy", "--dx", "dx.npy")
        self.near(load(self.dir / "dx.npy")[2], [d / math.sqrt(4 + 1e-5) for d in self.dy])

    def test_what_batch_norm_refuses(self):
        self.put("m.npy", npy([0.5] * self.n, (self.n,)))
        self.put("v.npy", npy([4.0] * self.n, (self.n,)))
        running = ("--running-mean", "m.npy", "--running-var", "v.npy")
        self.assertIn("where training is 0", self.batch_norm("--y", "y.npy", expect=INVALID).err)
        self.assertIn("where training is 0", self.batch_norm(*running, "--running-mean-out", "mo.npy", "--y", "y.npy", expect=INVALID).err)
        self.assertIn("--running_mean", self.batch_norm("--training", "--running-mean-out", "mo.npy", "--y", "y.npy", expect=USAGE).err)
        # The library may update in place; files that are read stay as they are.
        err = self.batch_norm("--training", *running, "--running-mean-out", "m.npy", "--running-var-out", "vo.npy", "--y", "y.npy", expect=INVALID).err
        self.assertIn("running_mean_out", err)
        self.put("one.npy", npy([1.0], (1, 1)))
        self.assertIn("more than one value", self.kilter("run", "batch_norm", "--x", "one.npy", "--training", "--y", "y.npy", expect=INVALID).err)
        for bad in (("--batches-tracked", "1.5"), ("--batches-tracked", ""), ("--training", "yes"), ("--averaging", "never")):
            self.batch_norm("--y", "y.npy", *bad, expect=USAGE)
        self.assertIn("batches_tracked", self.batch_norm("--training", "--batches-tracked", "-1", "--y", "y.npy", expect=INVALID).err)
        self.kilter("run", "batch_norm", "--backward", "--x", "x.npy", "--dy", "dy.npy", "--momentum", 1, "--dx", "dx.npy", expect=USAGE)
