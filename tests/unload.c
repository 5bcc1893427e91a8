/* dlopen, a call on two threads, dlclose, and the process goes on: whatever stays behind (OpenMP's waiting threads) must not crash.
 *   unload LIBRARY */
#include <dlfcn.h>
#include <kilter/kilter.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static float x[256][1024], y[256][1024];

static kilter_tensor fp32(void* data, int64_t* shape) {
  kilter_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data, t.device.type = KILTER_DEVICE_CPU, t.dtype.code = KILTER_FLOAT, t.dtype.bits = 32, t.dtype.lanes = 1;
  t.ndim = 2, t.shape = shape;
  return t;
}

int main(int argc, char** argv) {
  for (int i = 0; i < 256 * 1024; ++i) (&x[0][0])[i] = (float)(i % 13);
  for (int round = 0; round < 5; ++round) {
    void* library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) return fprintf(stderr, "unload LIBRARY: %s\n", argc > 1 ? dlerror() : "no library"), 2;
    kilter_status (*call)(const kilter_rms_norm_forward_args*, kilter_stream);
    kilter_status (*threads)(int);
    *(void**)&call = dlsym(library, "kilter_rms_norm_forward");
    *(void**)&threads = dlsym(library, "kilter_set_num_threads");
    int64_t shape[2] = {256, 1024};
    kilter_rms_norm_forward_args args;
    memset(&args, 0, sizeof args);
    args.struct_size = sizeof args, args.x = fp32(x, shape), args.y = fp32(y, shape), args.eps = 1e-6;
    if (!call || !threads || threads(2) || call(&args, NULL)) return 1;
    dlclose(library);
    usleep(20000);
  }
  puts("alive");
  return 0;
}
