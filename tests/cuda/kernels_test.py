#!/usr/bin/env python3
"""Tests of kernels.py on text as cuobjdump and nvcc print it."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kernels  # noqa: E402

DUMP = """
Fatbin ptx code:
================
arch = sm_80
code version = [9,0]

Fatbin elf code:
================
arch = sm_80
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:0
 Function first:
  REG:40 STACK:0 SHARED:128 LOCAL:0 CONSTANT[0]:12248 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function general:
  REG:103 STACK:1216 SHARED:2216 LOCAL:0 CONSTANT[2]:96 CONSTANT[0]:11664 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_90

Resource usage:
 Common:
  GLOBAL:0
 Function first:
  REG:48 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:12248 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
TABLE = """# a remark
allow\tgeneral.*\tany length
op\tkernel\tarch\tregisters\tshared\tstack
layer_norm\tfirst\tsm_80\t40\t128\t0
layer_norm\tfirst\tsm_90\t48\t0\t0
layer_norm\tgeneral\tsm_80\t103\t2216\t1216
"""
TIME = """source file name , phase name , phase input files , phase output file , arch , tool, metric , unit
a.cu , cicc ,  /tmp/a.ii  , /tmp/a.ptx , compute_80 , nvcc , 9000.0 , ms
 , nvcc (driver) ,  , a.o ,  , nvcc , 0.7 , ms
a.cu , gcc (preprocessing 4) , a.cu  , /tmp/a.ii ,  , nvcc , 214.6 , ms
a.cu , cudafe++ , /tmp/a.ii  , /tmp/a.cpp , compute_90 , nvcc , 1042.8 , ms
a.cu , cicc ,  /tmp/a.ii  , /tmp/a.ptx , compute_80 , nvcc , 2500.0 , ms
a.cu , ptxas , /tmp/a.ptx  , /tmp/a.cubin , sm_80 , nvcc , 500.0 , ms
a.cu , ptxas , /tmp/a.ptx  , /tmp/a.cubin , sm_90 , nvcc , 61000.0 , ms
 , nvcc (driver) ,  , a.o ,  , nvcc , 0.7 , ms
"""


class Kernels(unittest.TestCase):
    def setUp(self):
        self.found = kernels.parsed(DUMP, "layer_norm")
        self.table, self.allowed = kernels.read_table(TABLE)

    def problems(self):
        return kernels.problems(self.found, self.table, self.allowed)

    def changed(self, name, arch, **fields):
        key = kernels.Kernel("layer_norm", name, arch)
        self.found[key] = self.found[key]._replace(**fields)

    def test_reads_what_is_there(self):
        self.assertEqual(self.found, self.table)
        self.assertEqual(self.problems(), [])

    def test_table_survives_writing(self):
        self.assertEqual(kernels.read_table(kernels.written_table(self.found, self.allowed)), (self.table, self.allowed))

    def test_missing_and_extra_kernels_fail(self):
        key = kernels.Kernel("layer_norm", "first", "sm_90")
        use = self.table.pop(key)
        self.assertIn("is not in the table", self.problems()[0])
        self.table[key] = use
        del self.found[key]
        self.assertIn("was not compiled", self.problems()[0])

    def test_more_registers_fail(self):
        self.changed("first", "sm_80", registers=48)
        self.assertEqual(self.problems(), [])
        self.changed("first", "sm_80", registers=49)
        self.assertIn("49 registers, 40 in the table", self.problems()[0])

    def test_local_memory_needs_a_reason(self):
        self.changed("first", "sm_80", stack=8)
        self.assertIn("8 bytes in local memory", self.problems()[0])
        self.changed("first", "sm_80", stack=0)
        self.allowed[0] = ("general.*", "")
        self.assertIn("1216 bytes in local memory", self.problems()[0])

    def test_local_counts_like_stack(self):
        found = kernels.parsed(DUMP.replace("STACK:0 SHARED:128 LOCAL:0", "STACK:0 SHARED:128 LOCAL:16"), "layer_norm")
        self.assertEqual(found[kernels.Kernel("layer_norm", "first", "sm_80")].stack, 16)

    def test_reasons_in_vain_fail(self):
        self.allowed.append(("gone.*", "it was long"))
        self.assertIn("in vain", self.problems()[0])

    def test_quota(self):
        most = kernels.QUOTA["rowwise"]
        for i in range(most + 1):
            key = kernels.Kernel("rms_norm" if i % 2 else "layer_norm", f"k{i}", "sm_80")
            self.found[key] = self.table[key] = kernels.Use(32, 0, 0)
        self.assertEqual(self.problems(), [f"rowwise: {most + 3} kernels for sm_80, at most {most}"])

    def test_names(self):
        for text, name in {
            "void kilter::cuda::forward_kernel<kilter::cuda::Bf16, true, 8, 1>(kilter::RowNormForward)": "forward_kernel<Bf16, true, 8, 1>",
            "void kilter::cuda::k<(kilter::cuda::Kind)1, (bool)1>(int)": "k<(Kind)1, 1>",
            "void kilter::cuda::(anonymous namespace)::k<float>(float*)": "k<float>",
            "kilter::cuda::plain(float*)": "plain",
        }.items():
            self.assertEqual(kernels.short_name(text), name)

    def test_launched_kernels_are_what_the_program_says(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "program"
            program.write_text('#!/bin/sh\necho "void kilter::cuda::k<float>(int)" >"$KILTER_LAUNCHED"\n')
            program.chmod(0o755)
            self.assertEqual(kernels.launched(str(program)), {"k<float>"})

    def test_compile_time_is_the_last_one_per_architecture(self):
        self.assertEqual(kernels.compile_seconds([TIME]), {"sm_80": 3.0, "sm_90": 61.0})
        self.assertEqual(kernels.compile_seconds([]), {})


if __name__ == "__main__":
    unittest.main()
