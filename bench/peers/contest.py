"""What the contests of rows and planes share: the C side's contestants, and turns."""
import ctypes
import random
import sys
import time

REST = 0.004  # seconds; GCC's OpenMP spins for about one
HOPELESS = 50  # times the fastest


class Contestants:
    """The C side, contestants.cc and planes.cc."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        for function in ("contestant_create", "plane_contestant_create"):
            getattr(self.lib, function).restype = ctypes.c_void_p
            getattr(self.lib, function).argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        self.lib.contestant_name.restype = self.lib.onednn_version.restype = ctypes.c_char_p
        for function in ("contestant_name", "contestant_run", "contestant_destroy"):
            getattr(self.lib, function).argtypes = [ctypes.c_void_p]

    def create(self, create, problem):
        """Kilter, oneDNN and the copies, of those that there are: (name, function)."""
        kinds = [("kilter", 0), ("onednn", 0)] + [("copy", index) for index in range(4)]
        made = [(kind, getattr(self.lib, create)(kind.encode(), index, ctypes.byref(problem))) for kind, index in kinds]
        return [self.named(kind, handle) for kind, handle in made if handle]

    def named(self, kind, handle):
        name = self.lib.contestant_name(handle).decode()

        def run():
            if self.lib.contestant_run(handle):
                sys.exit(f"{name} failed")

        return (f"copy {name}" if kind == "copy" else name), run


def take_turns(made, reps):
    """Times of (name, function) pairs.  A round in which one has no chance of being the fastest is its last."""
    samples = {name: [] for name, _ in made}
    order = random.Random(1)
    for rep in range(-1, reps):  # every round in an order of its own: each runs after each
        for name, run in order.sample(made, len(made)):
            time.sleep(REST)
            start = time.perf_counter()
            returned = run()
            elapsed = time.perf_counter() - start
            del returned
            if rep >= 0:
                samples[name].append(elapsed * 1e3)
        if rep >= 0:
            best = {name: min(times) for name, times in samples.items()}
            made = [(name, run) for name, run in made if best[name] < HOPELESS * min(best.values())]
    return {name: {"min_ms": min(s), "median_ms": sorted(s)[len(s) // 2]} for name, s in samples.items()}
