#!/usr/bin/env python3
"""What the compiler is told: flags_test.py BUILD SOURCE.

1. A SIMD target's flags allow no instruction set that src/cpu/features.def, and with it the choice of a target, does not know.
2. Flags from outside that break the numeric contract (in CMAKE_CXX_FLAGS, or a parent project's options) are undone: a probe,
   compiled as a kernel is, still rounds every operation once; the library's link line adds no flush-to-zero.
"""

import ctypes
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])

PROBE = r"""
#define VISIBLE extern "C" __attribute__((visibility("default")))
VISIBLE float fused(float a, float b, float c) { return a * b + c; }
VISIBLE float reordered(float a, float b) { return (a + b) - a; }
VISIBLE void by_reciprocal(float* out, float b) { for (int i = 0; i < 64; ++i) out[i] = out[i] / b; }
VISIBLE int is_nan(float a) { return a != a; }
VISIBLE float plus_zero(float a) { return a + 0.0f; }
VISIBLE float sum(const float* p, int n) { float s = 0; for (int i = 0; i < n; ++i) s += p[i]; return s; }
VISIBLE double tenth(double a) { return a * 0.1; }
VISIBLE float too_wide(float a, float b) { return a * b / b; }
"""


def text_of(path):
    with open(path) as f:
        return f.read()


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


HOSTILE = ["-ffast-math", "-Ofast", "-Ofast -flto", "-ffinite-math-only -fno-signed-zeros", "-funsafe-math-optimizations", "-freciprocal-math",
           "-fassociative-math -fno-signed-zeros -fno-trapping-math", "-ffp-contract=fast", "-mfpmath=387"]
COMPILER = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)", text_of(f"{BUILD}/CMakeCache.txt"), re.M)[1]
if "clang" not in COMPILER:
    HOSTILE += ["-fsingle-precision-constant"]


def commands(build):
    """Of the unit that every target compiles first: target -> words, without source and output."""
    found = {}
    for entry in json.loads(text_of(f"{build}/compile_commands.json")):
        if entry["file"].endswith("cpu/target_features.cc"):
            words = shlex.split(entry["command"])
            if os.path.basename(words[0]) == "ccache":
                words = words[1:]
            words = words[: words.index("-o")]
            found[re.search(r"NAMESPACE=cpu_(\w+)", entry["command"])[1]] = words
    return found


def macros(words):
    out = run([*words, "-dM", "-E", "-x", "c++", os.devnull])
    return {line.split()[1] for line in out.splitlines()}


def runs_here(target):
    library = ctypes.CDLL(os.path.join(BUILD, "libkilter.so"))
    library.kilter_cpu_target_at.restype = ctypes.c_char_p
    names = [library.kilter_cpu_target_at(i) for i in range(8)]
    return target.encode() in names


class Targets(unittest.TestCase):
    def test_every_instruction_set_is_asked_for(self):
        known = set(re.findall(r"^KILTER_FEATURE\((\w+)", text_of(f"{SOURCE}/src/cpu/features.def"), re.M))
        # Tuning, units of floating point, sizes of atomics: no instruction set of its own.
        other = re.compile(r"__(tune_|corei7|k8|nocona|core2|SSE\w*_MATH__|GCC_HAVE_SYNC_COMPARE|FP_FAST_FMA)"
                           r"|^KILTER_")
        all_commands = commands(BUILD)
        base = macros(all_commands["SCALAR"])
        checked = 0
        for target, words in all_commands.items():
            for macro in sorted(macros(words) - base - known):
                self.assertRegex(macro, other, f"{target}: an instruction set that features.def does not have?")
            used = macros(words) & known
            checked += len(used)
            if target == "AVX2":
                self.assertLessEqual({"__AVX2__", "__FMA__", "__F16C__", "__BMI__", "__LZCNT__", "__MOVBE__"}, used)
        if "AVX2" in all_commands:
            self.assertGreater(checked, 10)


def wrong(words, folder):
    """What a probe compiled with these words gets wrong."""
    name = os.path.join(folder, f"probe{len(os.listdir(folder))}")
    with open(name + ".cc", "w") as f:
        f.write(PROBE)
    words = [w for w in words if w != "-Werror"]
    run([*words, "-c", name + ".cc", "-o", name + ".o"], cwd=folder)
    run([words[0], "-flto", "-shared", "-nostartfiles", "-o", name + ".so", name + ".o"])
    probe = ctypes.CDLL(name + ".so")
    f32, f64 = ctypes.c_float, ctypes.c_double
    for function, result, arguments in (("fused", f32, [f32] * 3), ("reordered", f32, [f32] * 2), ("is_nan", ctypes.c_int, [f32]), ("tenth", f64, [f64]),
                                        ("plus_zero", f32, [f32]), ("sum", f32, None), ("too_wide", f32, [f32] * 2), ("by_reciprocal", None, None)):
        getattr(probe, function).restype = result
        if arguments:
            getattr(probe, function).argtypes = arguments
    eps = 2.0**-23
    array = (f32 * 64)(*range(1, 65))
    probe.by_reciprocal(array, f32(49))
    results = {
        "fused": probe.fused(1 + eps, 1 - eps, -1) == 0,  # fused: -2^-46
        "reordered": probe.reordered(1e30, 1) == 0,
        "by reciprocal": list(array) == [f32(i / 49).value for i in range(1, 65)],  # twice rounded, but innocuously (Figueroa 1995)
        "NaN": probe.is_nan(math.nan) == 1,
        "sign of zero": math.copysign(1, probe.plus_zero(-0.0)) == 1,
        "sum in another order": probe.sum((f32 * 64)(2.0**24, *[1.0] * 63), 64) == 2.0**24,
        "constant in fp32": probe.tenth(3.0) == 3.0 * 0.1,
        "in extended precision": probe.too_wide(3e38, 10) == math.inf,
    }
    return [what for what, right in results.items() if not right]


class Flags(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def links_across_units(self):
        source = f"{self.folder}/empty.cc"
        open(source, "w").close()
        return subprocess.run([COMPILER, "-flto", "-shared", "-fPIC", "-o", f"{self.folder}/empty.so", source], capture_output=True).returncode == 0

    def test_flags_in_front_are_undone(self):
        hostile = [f for f in HOSTILE if "-flto" not in f or self.links_across_units()]
        for target, words in commands(BUILD).items():
            if runs_here(target):
                for flags in hostile:
                    with self.subTest(target=target, flags=flags):
                        self.assertEqual(wrong([words[0], *flags.split(), *words[1:]], self.folder), [])

    def test_the_probe_sees_what_flags_do(self):
        words = commands(BUILD)["SCALAR"]
        self.assertEqual(wrong(words, self.folder), [])
        for flags, what in {"-ffast-math": "reordered", "-Ofast": "sum in another order", "-ffinite-math-only": "NaN"}.items():
            with self.subTest(flags):
                self.assertIn(what, wrong([words[0], "-O3", "-fPIC", *flags.split()], self.folder))

    def test_a_parent_projects_options_are_undone(self):
        with open(f"{self.folder}/CMakeLists.txt", "w") as f:
            f.write("cmake_minimum_required(VERSION 3.25)\nproject(game LANGUAGES C CXX)\nset(CMAKE_EXPORT_COMPILE_COMMANDS ON)\n"
                    "add_compile_options(-Ofast -ffp-contract=off -ffast-math)\nadd_link_options(-ffast-math)\n"
                    f"add_subdirectory({SOURCE} kilter)\n")
        build = f"{self.folder}/build"
        run(["cmake", "-S", self.folder, "-B", build, "-G", "Unix Makefiles", f"-DCMAKE_CXX_COMPILER={COMPILER}", "-DCMAKE_CXX_FLAGS=-Ofast"])
        for target, words in commands(build).items():
            if runs_here(target):
                self.assertEqual(wrong(words, self.folder), [], target)
        link = shlex.split(text_of(f"{build}/kilter/CMakeFiles/kilter_shared.dir/link.txt"))
        link = link[: link.index("-o")]
        source = f"{self.folder}/empty.cc"
        open(source, "w").close()
        said = lambda words: subprocess.run([*words, "-o", f"{self.folder}/x.so", source, "-###"], capture_output=True, text=True).stderr
        self.assertNotIn("crtfastmath", said(link))
        if "crtfastmath" not in said([COMPILER, "-shared", "-ffast-math"]):
            self.skipTest("this compiler links no start-up code into shared libraries")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
