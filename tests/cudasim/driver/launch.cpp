// Launches: parameters, limits, the order of the blocks and of their threads.
#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <numeric>

#include "driver.hpp"

namespace cudasim {

extern jmp_buf launch_abort;

static constexpr u32 default_shared = 48 * 1024, max_shared = 163 * 1024, max_threads = 1024, shared_alignment = 128;

static int shuffle_seed() {
  static const int seed = setting("CUDASIM_SHUFFLE", 0);
  return seed;
}
bool shuffling() { return shuffle_seed() != 0; }

// SplitMix64, seeded once: launch after launch draws new orders, and the same run draws the same ones again.
static u64 random_bits() {
  static u64 state = (u64)shuffle_seed();
  u64 z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}

// Without a seed the last of `bound`: then `shuffle` swaps nothing.
u64 random_below(u64 bound) { return shuffling() ? random_bits() % bound : bound - 1; }

static std::vector<u32> order_of(u32 count) {
  std::vector<u32> order(count);
  std::iota(order.begin(), order.end(), 0);
  shuffle(order);
  return order;
}

static CUresult gather(const Kernel &kernel, void **pointers, void **extra, std::vector<u64> &storage) {
  storage.assign(kernel.parameter_bytes / sizeof(u64) + 2, 0);
  u8 *to = (u8 *)storage.data();
  if (pointers) {
    for (u32 i = 0; i < kernel.parameter_count; i++)
      memcpy(to + kernel.parameter_offset[i], pointers[i], kernel.parameter_size[i]);
    return CUDA_SUCCESS;
  }
  const void *buffer = nullptr;
  size_t size = 0;
  for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[1];
    if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *(size_t *)extra[1];
  }
  REQUIRE(size >= kernel.parameter_bytes);
  if (buffer) memcpy(to, buffer, kernel.parameter_bytes);
  return CUDA_SUCCESS;
}

static void run_block(const Kernel &kernel, Thread &thread, u8 *parameters, u32 threads) {
  if (poisoning()) memset(thread.shared, poison, thread.shared_size);
  if (kernel.run_thread) {
    run_block_on_fibers(kernel, thread, parameters, threads);
  } else {
    const std::vector<u32> order = shuffling() ? order_of(threads) : std::vector<u32>();
    kernel.run_block(&thread, parameters, order.empty() ? nullptr : order.data());
  }
}

static CUresult run_grid(const Kernel &kernel, Thread &thread, u8 *parameters, u32 threads) {
  const u32 x = thread.nctaid[0], y = thread.nctaid[1];
  const u64 blocks = (u64)x * y * thread.nctaid[2];
  const std::vector<u32> order = shuffling() && blocks >> 32 == 0 ? order_of((u32)blocks) : std::vector<u32>();
  launch_error = CUDA_SUCCESS;
  if (setjmp(launch_abort)) return launch_error;
  for (u64 i = 0; i < blocks; i++) {
    const u64 id = order.empty() ? i : order[i];
    thread.ctaid[0] = (u32)(id % x);
    thread.ctaid[1] = (u32)(id / x % y);
    thread.ctaid[2] = (u32)(id / x / y);
    run_block(kernel, thread, parameters, threads);
    if (launch_error) return launch_error;
  }
  return CUDA_SUCCESS;
}

struct Shape {
  u32 grid[3], block[3], dynamic_shared;
};

static CUresult run(const CUfunc_st &function, const Shape &shape, std::vector<u64> parameters) {
  const Kernel &kernel = *function.kernel;
  // Without dynamic shared memory an access behind the kernel's own variables is an overrun.
  const u32 shared_size =
      shape.dynamic_shared ? function.module->static_shared + shape.dynamic_shared : kernel.shared_end;
  std::vector<u8> shared(shared_size + shared_alignment);
  const Arena memory = arena();
  Thread thread{};
  thread.shared = (u8 *)(((u64)shared.data() + shared_alignment - 1) / shared_alignment * shared_alignment);
  thread.shared_size = shared_size;
  thread.dynamic_shared_size = shape.dynamic_shared;
  thread.services = &services;
  thread.arena = memory.base;
  thread.arena_size = memory.size;
  thread.valid_bytes = memory.valid_bytes;
  std::copy_n(shape.block, 3, thread.ntid);
  std::copy_n(shape.grid, 3, thread.nctaid);
  const u32 threads = shape.block[0] * shape.block[1] * shape.block[2];
  return run_grid(kernel, thread, (u8 *)parameters.data(), threads);
}

}  // namespace cudasim

using namespace cudasim;

API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned dynamic_shared, CUstream, void **pointers,
                   void **extra) {
  REQUIRE_CONTEXT;
  REQUIRE(function);
  LOCK;
  const Kernel &kernel = *function->kernel;
  REQUIRE(grid_x && grid_y && grid_z && block_x && block_y && block_z);
  REQUIRE(grid_x <= 0x7fffffff && grid_y <= 65535 && grid_z <= 65535);
  REQUIRE(block_x <= max_threads && block_y <= max_threads && block_z <= 64);
  const u64 threads = (u64)block_x * block_y * block_z;
  REQUIRE(threads <= max_threads);
  if (threads > kernel.max_threads) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  REQUIRE(kernel.shared_bytes + dynamic_shared <=
          std::max<u32>(default_shared, function->max_dynamic_shared + kernel.shared_bytes));

  std::vector<u64> parameters;
  if (CUresult error = gather(kernel, pointers, extra, parameters)) return error;
  static const bool trace = setting("CUDASIM_TRACE", 0);
  if (trace)
    log("launch %s, grid %u,%u,%u, block %u,%u,%u, dynamic shared %u", kernel.name, grid_x, grid_y, grid_z, block_x,
        block_y, block_z, dynamic_shared);
  cudasim_counters.launches++;
  const Shape shape{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, dynamic_shared};
  return later([function, shape, parameters] { return run(*function, shape, parameters); });
}

API cuFuncSetBlockShape(CUfunction function, int x, int y, int z) {
  REQUIRE_CONTEXT;
  REQUIRE(x > 0 && y > 0 && z > 0 && (u64)x * y * z <= max_threads);
  const int shape[3] = {x, y, z};
  std::copy_n(shape, 3, function->block);
  return CUDA_SUCCESS;
}
API cuFuncSetSharedSize(CUfunction function, unsigned size) { function->dynamic_shared = size; return CUDA_SUCCESS; }
API cuParamSetSize(CUfunction function, unsigned size) { function->parameters.resize(size); return CUDA_SUCCESS; }
API cuParamSetv(CUfunction function, int offset, void *from, unsigned size) {
  if (function->parameters.size() < offset + size) function->parameters.resize(offset + size);
  memcpy(&function->parameters[offset], from, size);
  return CUDA_SUCCESS;
}
API cuParamSeti(CUfunction function, int offset, unsigned value) { return cuParamSetv(function, offset, &value, 4); }
API cuParamSetf(CUfunction function, int offset, float value) { return cuParamSetv(function, offset, &value, 4); }
API cuLaunchGridAsync(CUfunction function, int x, int y, CUstream stream) {
  size_t size = function->parameters.size();
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, function->parameters.data(), CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                   CU_LAUNCH_PARAM_END};
  const u32 *block = function->block;
  return cuLaunchKernel(function, x, y, 1, block[0], block[1], block[2], function->dynamic_shared, stream, nullptr,
                        extra);
}
API cuLaunchGrid(CUfunction function, int x, int y) { return cuLaunchGridAsync(function, x, y, nullptr); }
API cuLaunch(CUfunction function) { return cuLaunchGrid(function, 1, 1); }

API cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction function) {
  const Kernel &kernel = *function->kernel;
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = kernel.max_threads; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = kernel.shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = kernel.local_bytes; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;  // a PTX kernel has no registers yet
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = architecture(); break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = function->max_dynamic_shared ? function->max_dynamic_shared : default_shared - kernel.shared_bytes;
      break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}
API cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
  if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  REQUIRE(value >= 0 && value + function->kernel->shared_bytes <= max_shared);
  function->max_dynamic_shared = value;
  return CUDA_SUCCESS;
}
API cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return CUDA_SUCCESS; }
