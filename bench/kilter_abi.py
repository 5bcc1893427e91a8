"""kilter's C ABI for ctypes, without a line per op: the library itself lists its functions and the fields of their structs."""
import ctypes
from ctypes import c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint64, c_void_p

CPU, CUDA = 1, 2
TYPES = {"fp64": (2, 64), "fp32": (2, 32), "fp16": (2, 16), "bf16": (4, 16)}  # code, bits


class Device(ctypes.Structure):
    _fields_ = [("type", c_int32), ("id", c_int32)]


class DType(ctypes.Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device", Device), ("ndim", c_int32), ("dtype", DType), ("shape", ctypes.POINTER(c_int64)),
                ("strides", ctypes.POINTER(c_int64)), ("byte_offset", c_uint64)]


def tensor(pointer, shape, dtype, device=(CUDA, 0), strides=None):
    """Without strides: row-major."""
    code, bits = TYPES[dtype]
    sizes = c_int64 * len(shape)
    return Tensor(pointer, Device(*device), len(shape), DType(code, bits, 1), sizes(*shape), strides and sizes(*strides), 0)


class Sized(ctypes.Structure):
    """A struct whose first member is its size."""

    def __init__(self, **values):
        known = {name for name, _ in self._fields_}
        if not known >= set(values):
            raise TypeError(f"expected fields of {' '.join(sorted(known))}, got {' '.join(sorted(set(values) - known))}")
        super().__init__(struct_size=ctypes.sizeof(type(self)), **values)


class Plan(Sized):
    _fields_ = [("struct_size", c_size_t), ("impl", c_char_p), ("workspace_size", c_size_t)]


class FunctionInfo(Sized):
    _fields_ = [("struct_size", c_size_t), ("op", c_char_p), ("function", c_int32), ("direction", c_int32), ("args_size", c_size_t),
                ("field_count", c_int32), ("t", c_int32)]


class Field(Sized):
    _fields_ = [("struct_size", c_size_t), ("name", c_char_p), ("kind", c_char_p), ("help", c_char_p), ("offset", c_size_t), ("required", c_int32)]
    _fields_ += [(name, c_char_p) for name in ("shape", "types", "may_be", "needs", "gradient_of", "words")] + [("fallback", c_double)]


KINDS = {"input": Tensor, "output": Tensor, "real": c_double, "count": c_int64, "integer": c_int64, "axis": c_int64, "choice": c_int32, "flags": c_uint64,
         "text": c_char_p, "memory": c_void_p, "bytes": c_size_t, "reserved": c_int32}


class Library:
    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.lib.kilter_last_error.restype = self.lib.kilter_status_name.restype = c_char_p
        self.lib.kilter_call.argtypes = [c_int32, c_void_p, c_void_p]
        self.functions = {}  # (op, "forward" or "backward"): (its number, its struct)
        self.fields = {}     # of the same: its fields, and the one whose type T is
        info = FunctionInfo()
        while self.lib.kilter_function_at(c_size_t(len(self.functions)), ctypes.byref(info)) == 0:
            name = info.op.decode(), ("forward", "backward")[info.direction]
            listed = [self.field(info.function, i) for i in range(info.field_count)]
            self.functions[name] = info.function, self.arguments(info, listed, "_".join(name))
            self.fields[name] = {field.name.decode(): field for field in listed}, listed[info.t].name.decode()

    def field(self, function, index):
        field = Field()
        self.check(self.lib.kilter_field_at(function, c_size_t(index), ctypes.byref(field)))
        return field

    def arguments(self, info, listed, name):
        fields, values = [("struct_size", c_size_t)], {}
        for field in sorted(listed, key=lambda field: field.offset):
            fields.append((field.name.decode(), KINDS[field.kind.decode()]))
            values[fields[-1][0]] = field.offset, field.fallback
        made = type(name, (Sized,), {"_fields_": fields, "fallbacks": {k: v for k, (_, v) in values.items() if v}})
        assert ctypes.sizeof(made) == info.args_size and all(getattr(made, k).offset == at for k, (at, _) in values.items()), name
        return made

    def check(self, status):
        if status:
            raise RuntimeError(f"{self.lib.kilter_status_name(status).decode()}: {self.lib.kilter_last_error().decode()}")


class Call:
    """One call, its arguments made once; everything it points to stays alive with it, but not the tensors' memory."""

    def __init__(self, library, op, direction, **values):
        self.library = library
        self.function, arguments = library.functions[op, direction]
        self.args = arguments(**arguments.fallbacks | values)

    def workspace_size(self):
        plan = Plan()
        self.library.check(self.library.lib.kilter_ask(self.function, ctypes.byref(self.args), ctypes.byref(plan)))
        return plan.workspace_size

    def set_workspace(self, pointer, size):
        self.args.workspace, self.args.workspace_size = pointer, size

    def __call__(self, stream=None):
        self.library.check(self.library.lib.kilter_call(self.function, ctypes.byref(self.args), stream))
