/* kilter: the normalization layers of neural networks, forward and backward.  The whole contract, for C99
 * and C++98 or later; helpers.h, which comes with it, makes tensors and arguments in one line each.
 *
 * Every op is one function per direction, taking one argument struct whose first member is its own size and returning a
 * status.  Nothing here throws, aborts, prints (unless the environment variable KILTER_LOG asks) or synchronizes, and
 * every function may be called from any thread.  Host memory: a call allocates nothing and takes less than 32 KiB of the calling
 * thread's stack, whatever the types and sizes; the OpenMP runtime may create its threads during the first call that uses them
 * (their stacks are OMP_STACKSIZE's), and GCC's ends the process when it can create no thread.
 *
 * The process around it.  A call computes in the default floating-point environment (round to nearest, subnormals kept, no
 * traps) on every thread, whatever the caller's is, and leaves that as it was, flags included.  After fork, the thread that
 * remains runs its calls on itself alone if it had called on several threads before; the bits are the same.  (A runtime that
 * the program itself used before the fork is not known here: GCC's OpenMP then hangs in the child; call
 * kilter_set_num_threads(1) there.)  Once loaded, the shared library stays: dlclose is safe, also after calls on several threads.
 *
 * Words used throughout.  A tensor is a stack of `rows` rows of `n` elements: n is the last dimension, rows is the
 * product of all others.  (Of group_norm it is a batch of samples, each of channels with places: planewise.h says what holds for
 * planes.)  "T" is x's type, in backward dy's: fp64, fp32, fp16 or bf16.  A row's statistics, sums and
 * products are computed in fp32 (fp64 when T is fp64), sums over rows likewise by up to 128 rows, and beyond in fp64 (a pair
 * of fp64 when T is fp64).
 * docs/numerics.md states every operation; every backend, SIMD target and thread count gives the same bits (all but the
 * implementation "reference:f64", which is there to compare with; dyt, derf, group_norm and weight_norm say what holds for them).
 *
 * Devices.  All tensors of one call are on one device, x's (type and id), else KILTER_INVALID_ARGUMENT; one for which nothing was
 * built is KILTER_UNSUPPORTED.  Memory of a GPU's runtime that the host can access counts as the CPU's, whatever its id:
 * KILTER_DEVICE_CUDA_HOST, KILTER_DEVICE_ROCM_HOST and KILTER_DEVICE_CUDA_MANAGED, alone or beside KILTER_DEVICE_CPU.  What a
 * GPU still does with it is the caller's to wait for.
 *
 * Shapes and strides.  Any rank from 1 to KILTER_MAX_RANK.  The last stride is 1 (else KILTER_UNSUPPORTED).  Leading strides
 * are arbitrary for inputs, zero and negative included, for up to 12 dimensions that do not continue one another; an output's rows must not
 * overlap each other.  All activations of one call have x's shape; weight, bias, dweight and dbias have shape [n]; mean and rstd have x's
 * shape without its last dimension, or with that dimension equal to 1.  Zero rows and zero-length rows are valid. group_norm's activations
 * are [batch, channels, spatial...], rank 2 at least.  Their batch stride is as arbitrary as the stride of rows; the others are those of
 * dense channels first or dense channels last, in all activations of a call alike (else KILTER_UNSUPPORTED). Strides of dimensions of size
 * 1, and of tensors without elements, are not looked at.
 *
 * Aliasing.  An output may be exactly the memory of an input where the argument says "may be", and must otherwise share
 * no element with any other tensor of the call.  Overlap is judged by elements: interleaved column slices of one buffer
 * are legal.  A violation is KILTER_OVERLAP and nothing is written.
 *
 * Errors.  Arguments are checked in full before anything is written; on any status but KILTER_OK and KILTER_DEVICE_ERROR no
 * output was touched.
 * kilter_last_error() then names op, argument, expected and got.
 */
#ifndef KILTER_KILTER_H_
#define KILTER_KILTER_H_

#include <stddef.h>
#include <stdint.h>

#include "kilter/version.h"

#if defined(KILTER_STATIC)
#define KILTER_API
#elif defined(_WIN32)
#if defined(KILTER_BUILDING)
#define KILTER_API __declspec(dllexport)
#else
#define KILTER_API __declspec(dllimport)
#endif
#else
#define KILTER_API __attribute__((visibility("default")))
#endif

#if defined(__cplusplus) && __cplusplus >= 201703L
#define KILTER_NODISCARD [[nodiscard]]
#elif defined(__GNUC__)
#define KILTER_NODISCARD __attribute__((warn_unused_result))
#else
#define KILTER_NODISCARD
#endif

#if !defined(__cplusplus)
#define KILTER_NOEXCEPT
#elif __cplusplus >= 201103L || defined(_MSC_VER)
#define KILTER_NOEXCEPT noexcept
#else
#define KILTER_NOEXCEPT throw()
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- status */

typedef enum kilter_status {
  KILTER_OK = 0,
  KILTER_INVALID_ARGUMENT = 1,    /* the arguments contradict each other or the header */
  KILTER_UNSUPPORTED = 2,         /* valid, but no implementation here */
  KILTER_OVERLAP = 3,             /* tensors share memory in a way the op does not allow */
  KILTER_WORKSPACE_TOO_SMALL = 4, /* see kilter_ask */
  KILTER_OUT_OF_MEMORY = 5,
  KILTER_DEVICE_ERROR = 6,         /* the device reported an error during this call */
  KILTER_PENDING_DEVICE_ERROR = 7, /* the device was already in error when the call began */
  KILTER_IO = 8,                   /* statuses 8 to 10 are used by the tools */
  KILTER_TRUNCATED = 9,
  KILTER_BAD_FORMAT = 10,
  KILTER_INTERNAL = 11
} kilter_status;

/* "KILTER_OK", ...; never null. */
KILTER_API const char* kilter_status_name(kilter_status status) KILTER_NOEXCEPT;

/* What went wrong in the last failing call of this thread; "" if none failed.  Valid until this thread's next call. */
KILTER_API const char* kilter_last_error(void) KILTER_NOEXCEPT;

/* The version of the library at run time: major * 10000 + minor * 100 + patch. */
KILTER_API int kilter_version(void) KILTER_NOEXCEPT;

/* ---------------------------------------------------------------- tensors */

enum { KILTER_MAX_RANK = 32 };

/* Device and type codes are DLPack's. */
enum {
  KILTER_DEVICE_CPU = 1,
  KILTER_DEVICE_CUDA = 2,
  KILTER_DEVICE_CUDA_HOST = 3, /* pinned host memory */
  KILTER_DEVICE_METAL = 8,
  KILTER_DEVICE_ROCM_HOST = 11, /* pinned host memory */
  KILTER_DEVICE_CUDA_MANAGED = 13
};
/* Integers are lengths, of 32 or 64 bits (adaptive_layer_norm), and bytes of bits, unsigned (batch_norm's mask). */
enum { KILTER_INT = 0, KILTER_UINT = 1, KILTER_FLOAT = 2, KILTER_BFLOAT = 4 };

typedef struct kilter_device {
  int32_t type;
  int32_t id;
} kilter_device;

typedef struct kilter_dtype {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes; /* 1 */
} kilter_dtype;

/* DLPack's DLTensor, field for field: a DLTensor can be passed as is.  Element (i, j, ...) lies at
 * data + byte_offset + itemsize * (i * strides[0] + j * strides[1] + ...).  strides counts elements; null means row-major.
 * The address of every element must be a multiple of the item size (else KILTER_INVALID_ARGUMENT).
 * A tensor whose struct is all zero is absent.  One that has a type is there: its data may be null only if it has no elements, or
 * where the call is only asked about (kilter_ask, kilter_explain); a type that is zero beside anything else is an error. */
typedef struct kilter_tensor {
  void* data;
  kilter_device device;
  int32_t ndim;
  kilter_dtype dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
} kilter_tensor;

/* A device queue: a cudaStream_t, an id<MTLCommandBuffer>.  Null on the CPU, where a call returns when it has finished. */
typedef void* kilter_stream;

/* ---------------------------------------------------------------- functions
 *
 * Every function of every op, by number: numbers stay as they are, new ones follow.  An op's own functions take the same structs
 * and are what C and C++ programs call; by number, bindings and tools reach all of them without a line for each. */
typedef enum kilter_function {
  KILTER_LAYER_NORM_FORWARD = 0,
  KILTER_LAYER_NORM_BACKWARD = 1,
  KILTER_RMS_NORM_FORWARD = 2,
  KILTER_RMS_NORM_BACKWARD = 3,
  KILTER_DYT_FORWARD = 4,
  KILTER_DYT_BACKWARD = 5,
  KILTER_DERF_FORWARD = 6,
  KILTER_DERF_BACKWARD = 7,
  KILTER_GROUP_NORM_FORWARD = 8,
  KILTER_GROUP_NORM_BACKWARD = 9,
  KILTER_INSTANCE_NORM_FORWARD = 10,
  KILTER_INSTANCE_NORM_BACKWARD = 11,
  KILTER_BATCH_NORM_FORWARD = 12,
  KILTER_BATCH_NORM_BACKWARD = 13,
  KILTER_BATCH_NORM_STATISTICS_FORWARD = 14,
  KILTER_BATCH_NORM_STATISTICS_BACKWARD = 15,
  KILTER_BATCH_NORM_APPLY_FORWARD = 16,
  KILTER_BATCH_NORM_APPLY_BACKWARD = 17,
  KILTER_BATCH_NORM_COMBINE_FORWARD = 18,
  KILTER_BATCH_NORM_COMBINE_BACKWARD = 19,
  KILTER_ADAPTIVE_LAYER_NORM_FORWARD = 20,
  KILTER_ADAPTIVE_LAYER_NORM_BACKWARD = 21,
  KILTER_WEIGHT_NORM_FORWARD = 22,
  KILTER_WEIGHT_NORM_BACKWARD = 23
} kilter_function;

/* ---------------------------------------------------------------- what arguments share */

/* How y is rounded to T.  ROUND_ONCE: y = T(xhat * w + b), everything inside in fp32.
 * ROUND_THEN_MULTIPLY: y = T(T(T(xhat) * w) + b), the order of several published model implementations; w and b keep
 * their own type.  The same for fp32 and fp64.  Backward treats rounding as the identity. */
typedef enum kilter_rounding { KILTER_ROUND_ONCE = 0, KILTER_ROUND_THEN_MULTIPLY = 1 } kilter_rounding;

typedef enum kilter_activation {
  KILTER_ACTIVATION_NONE = 0,
  KILTER_ACTIVATION_SILU = 1,
  KILTER_ACTIVATION_GELU = 2,
  KILTER_ACTIVATION_GELU_TANH = 3,
  KILTER_ACTIVATION_RELU = 4
} kilter_activation;

/* How running statistics follow those of batches: new = (1 - momentum) * old + momentum * batch's, or the mean over all batches. */
typedef enum kilter_averaging { KILTER_AVERAGING_EXPONENTIAL = 0, KILTER_AVERAGING_CUMULATIVE = 1 } kilter_averaging;

/* Bits of launch_flags in the argument structs; 0 by default, and a bit without a name is KILTER_INVALID_ARGUMENT.
 *
 * KILTER_LAUNCH_DEPENDENT: programmatic dependent launch, for chains of short calls on one stream, captured or not.  The call's
 * kernel may start while the kernel queued just before it still runs, and may read weight and bias at once; whatever else it
 * reads or writes waits until that kernel, and with it everything queued earlier, has ended.  So weight and bias must not be
 * written by the kernel queued just before this call; nor by the one before that, if the one between is itself a dependent
 * launch that lets others start before it has waited (no kernel of this library does).  Everything else is ordered as always,
 * for this call and for those that follow it, with the flag or without.
 * It is a permission: on the CPU, and where no kernel makes use of it, the call runs as without.  Bits never depend on it. */
enum { KILTER_LAUNCH_DEPENDENT = 1 << 0 };

/* The eps that kilter_..._forward_defaults() (helpers.h), kilter.hpp and the command line begin with. */
#define KILTER_DEFAULT_EPS 1e-5
/* Likewise momentum. */
#define KILTER_DEFAULT_MOMENTUM 0.1

/* ---------------------------------------------------------------- layer_norm
 *
 * Layer Normalization (Ba, Kiros, Hinton 2016, arXiv:1607.06450, section 3), per row, biased variance:
 *   mean = sum(x) / n,  rstd = 1 / sqrt(sum((x - mean)^2) / n + eps),  xhat = (x - mean) * rstd,
 *   y = xhat * (weight_offset + weight) + bias.
 * Backward (docs/numerics.md, "Backward"), with g = dy * (weight_offset + weight):
 *   dx = rstd * (g - sum(g) / n - xhat * sum(g * xhat) / n) + dresidual_out,
 *   dweight = sum over rows of dy * xhat,  dbias = sum over rows of dy.
 * Deterministic: equal bits run to run, for any thread count and SIMD target; y, mean, rstd and dx of a row also do not
 * depend on the other rows, the number of rows, strides, alignment or in-place use. */

typedef struct kilter_layer_norm_forward_args {
  size_t struct_size;
  kilter_tensor x;      /* input */
  kilter_tensor weight; /* input, optional, [n], type T or fp32 */
  kilter_tensor bias;   /* input, optional, [n], type T or fp32 */
  kilter_tensor
      residual;       /* input, optional, x's shape, type T or fp32: what is normalized is s = R(x + residual), R rounding to its type */
  kilter_tensor gate; /* input, optional, x's shape: s = R(residual + gate * x); no implementation yet: KILTER_UNSUPPORTED */
  kilter_tensor post_residual; /* input, optional, x's shape, type T or fp32: y = T(activation(v) + post_residual) of the norm's fp32
                                  result v, one rounding; its gradient is dy itself */
  kilter_tensor y;             /* output, type T; may be x, residual or post_residual (same type) */
  kilter_tensor residual_out;  /* output, optional: s, in residual's type; may be x (same type) or residual */
  kilter_tensor mean;          /* output, optional, fp32 (fp64 if T is fp64) */
  kilter_tensor rstd;          /* output, optional, fp32 (fp64 if T is fp64) */
  double eps;                  /* finite, usually KILTER_DEFAULT_EPS; zero is zero: with it a row of equal elements gives NaN.
                                  A negative eps computes the root of what it gives (NaN if negative) */
  double weight_offset;        /* finite; added to weight in fp32 (1 for models that store weight - 1); needs weight unless 0 */
  int32_t rounding;            /* kilter_rounding */
  int32_t activation;          /* kilter_activation; others than NONE have no implementation yet: KILTER_UNSUPPORTED */
  const char* impl;            /* null: the first implementation that takes the call; else this one, or KILTER_UNSUPPORTED (an unknown
                                  name: INVALID_ARGUMENT); kilter_explain lists them */
  uint64_t launch_flags;       /* KILTER_LAUNCH_... */
} kilter_layer_norm_forward_args;

typedef struct kilter_layer_norm_backward_args {
  size_t struct_size;
  kilter_tensor x;             /* input: what the norm normalized (residual_out if a residual was added); T, or fp32 */
  kilter_tensor weight;        /* input, optional, as in forward */
  kilter_tensor mean;          /* input, as forward wrote it */
  kilter_tensor rstd;          /* input, as forward wrote it */
  kilter_tensor dy;            /* input, type T */
  kilter_tensor dresidual_out; /* input, optional, x's shape, type T or fp32: gradient that reaches residual_out from elsewhere */
  kilter_tensor dx;            /* output, optional, type T; may be x, dy or dresidual_out (same type) */
  kilter_tensor dresidual;     /* output, optional: dx's value in type T or fp32; may be x, dy or dresidual_out (same type) */
  kilter_tensor dweight;       /* output, optional, [n], fp32 or weight's type (T if weight is absent) */
  kilter_tensor dbias;         /* output, optional, [n], fp32 or weight's type (T if weight is absent) */
  double weight_offset;        /* as in forward */
  void* workspace;       /* scratch on the tensors' device, the caller's, apart from all tensors (unchecked); kilter_ask says how much */
  size_t workspace_size; /* bytes */
  const char* impl;
  uint64_t launch_flags; /* as in forward */
} kilter_layer_norm_backward_args;

/* stream: where work for a device is queued; on the CPU ignored. */
KILTER_NODISCARD KILTER_API kilter_status kilter_layer_norm_forward(const kilter_layer_norm_forward_args* args,
                                                                    kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_layer_norm_backward(const kilter_layer_norm_backward_args* args,
                                                                     kilter_stream stream) KILTER_NOEXCEPT;

/* ---------------------------------------------------------------- rms_norm
 *
 * Root Mean Square Layer Normalization (Zhang, Sennrich 2019, arXiv:1910.07467, section 4), per row:
 *   rstd = 1 / sqrt(sum(x^2) / n + eps),  xhat = x * rstd,  y = xhat * (weight_offset + weight) + bias.
 * Backward, with g = dy * (weight_offset + weight):
 *   dx = rstd * (g - xhat * sum(g * xhat) / n) + dresidual_out,
 *   dweight = sum over rows of dy * xhat,  dbias = sum over rows of dy.
 * Fields, aliasing and determinism as in layer_norm; there is no mean. */

typedef struct kilter_rms_norm_forward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor weight;
  kilter_tensor bias;
  kilter_tensor residual;
  kilter_tensor gate;
  kilter_tensor post_residual;
  kilter_tensor y;
  kilter_tensor residual_out;
  kilter_tensor rstd;
  double eps;
  double weight_offset;
  int32_t rounding;
  int32_t activation;
  const char* impl;
  uint64_t launch_flags;
} kilter_rms_norm_forward_args;

typedef struct kilter_rms_norm_backward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor weight;
  kilter_tensor rstd;
  kilter_tensor dy;
  kilter_tensor dresidual_out;
  kilter_tensor dx;
  kilter_tensor dresidual;
  kilter_tensor dweight;
  kilter_tensor dbias;
  double weight_offset;
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_rms_norm_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_rms_norm_forward(const kilter_rms_norm_forward_args* args,
                                                                  kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_rms_norm_backward(const kilter_rms_norm_backward_args* args,
                                                                   kilter_stream stream) KILTER_NOEXCEPT;

#include "kilter/adaptive.h"    /* adaptive_layer_norm */
#include "kilter/elementwise.h" /* dyt, derf */
#include "kilter/planewise.h"   /* group_norm */
#include "kilter/weights.h"     /* weight_norm */

/* ---------------------------------------------------------------- questions about a call, and calls by number
 *
 * function is a kilter_function; any other number is KILTER_INVALID_ARGUMENT.  args is the struct that the function of that number would be
 * passed.  It is checked as in the call, with the call's own status and text; the tensors' memory is not read, and may be missing (null
 * data).  rows, types, strides and alignment of what is there decide which implementation a call finds. */

typedef enum kilter_direction { KILTER_FORWARD = 0, KILTER_BACKWARD = 1 } kilter_direction;

typedef struct kilter_plan {
  size_t struct_size;
  const char* impl;      /* the implementation that the call would run; static */
  size_t workspace_size; /* bytes that it needs.  On the CPU the calling thread's number of threads decides; a smaller workspace, down
                            to that of one thread, is accepted and uses fewer.  Any alignment; what it holds before a call does not
                            matter.  One workspace serves one stream at a time. */
} kilter_plan;

/* plan, with struct_size set, is filled in; untouched if the answer is not KILTER_OK: KILTER_UNSUPPORTED says in kilter_last_error()
 * why no implementation takes the call.  The args' own workspace and workspace_size are not looked at. */
KILTER_NODISCARD KILTER_API kilter_status kilter_ask(int32_t function, const void* args, kilter_plan* plan) KILTER_NOEXCEPT;

/* One step of the walk through a function's ordered list of implementations: reason is null where it would run. */
typedef struct kilter_candidate {
  const char* impl;
  const char* reason;
} kilter_candidate;

/* Writes up to capacity candidates, in order, and the length of the list to *count.  Strings are static.  KILTER_OK whenever the
 * arguments are right, also if no implementation takes them. */
KILTER_NODISCARD KILTER_API kilter_status kilter_explain(int32_t function, const void* args, kilter_candidate* candidates, size_t capacity,
                                                         size_t* count) KILTER_NOEXCEPT;

/* The function itself. */
KILTER_NODISCARD KILTER_API kilter_status kilter_call(int32_t function, const void* args, kilter_stream stream) KILTER_NOEXCEPT;

/* What exists, for those that know no function by name.  Strings are static.  Structs are size-first: set struct_size before. */
typedef struct kilter_function_info {
  size_t struct_size;
  const char* op;      /* "layer_norm" */
  int32_t function;    /* kilter_function */
  int32_t direction;   /* kilter_direction */
  size_t args_size;    /* of the struct that it takes */
  int32_t field_count; /* of that struct, struct_size not counted */
  int32_t t;           /* the field whose type is "T" */
} kilter_function_info;

/* The index-th function, in no particular order; KILTER_INVALID_ARGUMENT past the end, without a text. */
KILTER_NODISCARD KILTER_API kilter_status kilter_function_at(size_t index, kilter_function_info* info) KILTER_NOEXCEPT;

/* A field of a function's struct.  Words may be added in later versions: pass over what you do not know. */
typedef struct kilter_field {
  size_t struct_size;
  const char* name;        /* "weight" */
  const char* kind;        /* "input", "output"; "real" (double), "integer" (int64_t), "choice" (int32_t), "flags" (uint64_t), "text" (const
                              char*), "memory" (void*), "bytes" (size_t), "count" (int64_t: a size, which divides the one that shape names),
                              "reserved" (int32_t: 0), "axis" (int64_t: a dimension) */
  const char* help;        /* "weight: ..." */
  size_t offset;           /* in the struct */
  int32_t required;        /* a tensor that may not be absent */
  const char* shape;       /* of a tensor: names of sizes, "..." for any number of dimensions, "...?" for the same of which the last may be
                              1, "1", "bits" (the bytes of a bit for each element of a sample: planewise.h, batch_norm), "kept" (weights.h,
                              weight_norm), "segments+1" (of cumulative lengths: where they are there, a shape with "segments" holds), the
                              name of a tensor that has the shape; "|" between alternatives: "... n" */
  const char* types;       /* "T|fp32": T, stat (fp64 if T is, else fp32), a field's (T where it is absent), fp64, fp32, fp16, bf16,
                              uint8, int32, int64 */
  const char* may_be;      /* names of inputs whose memory an output may be exactly: "x residual" */
  const char* needs;       /* a field without which this one must be absent, or zero; "" */
  const char* gradient_of; /* the field, by name, whose gradient this output is; "" */
  const char* words;       /* of a choice from 0 on, of flags from bit 0 on: "once then_multiply" */
  double fallback;         /* of a number: what is meant unless it is given */
} kilter_field;

KILTER_NODISCARD KILTER_API kilter_status kilter_field_at(int32_t function, size_t index, kilter_field* field) KILTER_NOEXCEPT;

/* ---------------------------------------------------------------- CPU execution */

/* How many threads a call takes, itself included, is decided in this order; bits never depend on it:
 *   1. kilter_set_num_threads by the calling thread, for that thread; 0 (the start): none;
 *   2. else OpenMP's choice for that thread: 1 inside a parallel region, else omp_set_num_threads, else OMP_NUM_THREADS, else
 *      one for each processor that the process may use;
 *   3. at most the process's limit: kilter_set_thread_limit, else the environment's KILTER_NUM_THREADS (1 to 4096; another text
 *      makes every CPU call answer KILTER_INVALID_ARGUMENT), else none.  Whoever calls from a pool of threads sets it to 1: each
 *      thread of the pool otherwise gets a team of its own.
 * Small calls take fewer.  OMP_THREAD_LIMIT and OMP_DYNAMIC hold as well. */
KILTER_NODISCARD KILTER_API kilter_status kilter_set_num_threads(int threads) KILTER_NOEXCEPT;
KILTER_API int kilter_get_num_threads(void) KILTER_NOEXCEPT; /* what a large call from this thread would take */

/* For every thread of the process, also while calls run (later ones follow it); 0: back to KILTER_NUM_THREADS or none. */
KILTER_NODISCARD KILTER_API kilter_status kilter_set_thread_limit(int threads) KILTER_NOEXCEPT;
KILTER_API int kilter_get_thread_limit(void) KILTER_NOEXCEPT; /* 0: none */

/* The SIMD target in use: "AVX3", "AVX2", "SSE4", "SCALAR", "NEON".  The environment variable KILTER_CPU_TARGET forces one;
 * a name that this CPU or build lacks makes every CPU call answer KILTER_INVALID_ARGUMENT. */
KILTER_API const char* kilter_cpu_target(void) KILTER_NOEXCEPT;

/* Switches the target for the whole process (tests, comparisons); null: back to the default.  Not while calls run. */
KILTER_NODISCARD KILTER_API kilter_status kilter_set_cpu_target(const char* name) KILTER_NOEXCEPT;

/* Names of targets compiled in that this CPU can run, best first; null past the end. */
KILTER_API const char* kilter_cpu_target_at(int index) KILTER_NOEXCEPT;

#ifdef __cplusplus
} /* extern "C" */
#endif

#include "kilter/helpers.h"

#endif /* KILTER_KILTER_H_ */
