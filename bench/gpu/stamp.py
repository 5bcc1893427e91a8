#!/usr/bin/env python3
"""Writes the header that ties a gpu_bench to what it was built from, with its rows; keeps the file's time if nothing changed."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import results  # noqa: E402

path = pathlib.Path(sys.argv[1])
text = f'#define KILTER_BENCH_COMMIT "{results.commit()}"\n#define KILTER_BENCH_CUDA_SOURCES "{results.cuda_hash()}"\n'
text += f'inline constexpr char kKilterBenchRows[] = R"rows({(pathlib.Path(__file__).parent / "rows.txt").read_text()})rows";\n'
if not path.exists() or path.read_text() != text:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
