"""The row norms of kilter's C ABI for ctypes: the argument structs of kilter.h and one object per call."""
import ctypes

CPU, CUDA = 1, 2
TYPES = {"fp64": (2, 64), "fp32": (2, 32), "fp16": (2, 16), "bf16": (4, 16)}  # code, bits
NAMES = {"ln": "layer_norm", "rms": "rms_norm"}


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", Device), ("ndim", ctypes.c_int32), ("dtype", DType),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class Prologue(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t)] + [(name, Tensor) for name in ("residual", "residual_out", "gate")]


def structure(tensors, rest):
    return type("Args", (ctypes.Structure,), {"_fields_": [("struct_size", ctypes.c_size_t)] + [(name, Tensor) for name in tensors.split()] + rest})


FORWARD_REST = [("eps", ctypes.c_double), ("weight_offset", ctypes.c_double), ("rounding", ctypes.c_int32), ("prologue", ctypes.POINTER(Prologue)),
                ("epilogue", ctypes.c_void_p), ("quantization", ctypes.c_void_p), ("impl", ctypes.c_char_p),
                ("launch_flags", ctypes.c_uint64)]
BACKWARD_REST = [("weight_offset", ctypes.c_double), ("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_size_t), ("impl", ctypes.c_char_p),
                 ("launch_flags", ctypes.c_uint64)]
ARGUMENTS = {
    ("ln", "fwd"): structure("x weight bias y mean rstd", FORWARD_REST),
    ("rms", "fwd"): structure("x weight bias y rstd", FORWARD_REST),
    ("ln", "bwd"): structure("x weight mean rstd dy dresidual_out dx dresidual dweight dbias", BACKWARD_REST),
    ("rms", "bwd"): structure("x weight rstd dy dresidual_out dx dresidual dweight dbias", BACKWARD_REST),
}


def tensor(pointer, shape, dtype, device=(CUDA, 0)):
    """Row-major."""
    code, bits = TYPES[dtype]
    return Tensor(pointer, Device(*device), len(shape), DType(code, bits, 1), (ctypes.c_int64 * len(shape))(*shape), None, 0)


class Call:
    """One call, its arguments made once; everything it points to stays alive with it, but not the tensors' memory."""

    def __init__(self, library, norm, direction, tensors, eps=1e-5):
        self.library = library
        self.args = args = ARGUMENTS[norm, direction]()
        args.struct_size = ctypes.sizeof(args)
        self.function = getattr(library.lib, f"kilter_{NAMES[norm]}_{'forward' if direction == 'fwd' else 'backward'}")
        self.query = getattr(library.lib, f"kilter_{NAMES[norm]}_backward_workspace") if direction == "bwd" else None
        if direction == "fwd":
            args.eps = eps
            if "residual" in tensors:
                self.prologue = Prologue(ctypes.sizeof(Prologue), tensors["residual"], tensors.get("residual_out", Tensor()), Tensor())
                args.prologue = ctypes.pointer(self.prologue)
        for name, value in tensors.items():
            if name not in ("residual", "residual_out"):
                setattr(args, name, value)

    def workspace_size(self):
        if not self.query:
            return 0
        size = ctypes.c_size_t()
        self.library.check(self.query(ctypes.byref(self.args), ctypes.byref(size)))
        return size.value

    def set_workspace(self, pointer, size):
        self.args.workspace, self.args.workspace_size = pointer, size

    def __call__(self, stream=None):
        self.library.check(self.function(ctypes.byref(self.args), stream))


class Library:
    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.lib.kilter_last_error.restype = self.lib.kilter_status_name.restype = ctypes.c_char_p
        for name in NAMES.values():
            for direction in ("forward", "backward"):
                getattr(self.lib, f"kilter_{name}_{direction}").argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    def check(self, status):
        if status:
            raise RuntimeError(f"{self.lib.kilter_status_name(status).decode()}: {self.lib.kilter_last_error().decode()}")
