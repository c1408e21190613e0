// Declarations shared by the parts of the emulated driver.
#pragma once
#include <cuda.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "abi.h"

#define API extern "C" __attribute__((visibility("default"))) CUresult CUDAAPI

#define REQUIRE(condition) \
  do { if (!(condition)) return CUDA_ERROR_INVALID_VALUE; } while (0)
#define REQUIRE_INIT \
  do { if (!cudasim::initialized) return CUDA_ERROR_NOT_INITIALIZED; } while (0)
#define REQUIRE_CONTEXT \
  do { REQUIRE_INIT; if (!cudasim::current_context()) return CUDA_ERROR_INVALID_CONTEXT; } while (0)
// One lock for the whole driver: it is an emulator, and a launch runs to its end inside it.
#define LOCK std::lock_guard<std::recursive_mutex> guard_(cudasim::mutex)

struct CUmod_st {
  void *library;
  const Kernel *kernels;
  const Global *globals;
  u32 static_shared;  // bytes of shared memory that all kernels of the module lay out together
  std::map<std::string, CUfunc_st *> functions;
};

struct CUfunc_st {
  CUmod_st *module;
  const Kernel *kernel;
  int max_dynamic_shared = 0;
  // The state of the launch interface before cuLaunchKernel, which PyCUDA's prepared calls still use.
  u32 block[3] = {1, 1, 1};
  u32 dynamic_shared = 0;
  std::vector<u8> parameters;
};

// Counts that tests read through ctypes: what a real driver would have been asked to do.
struct Counters {
  u64 launches, synchronizations, host_to_device_bytes, device_to_host_bytes, allocations;
};
extern "C" __attribute__((visibility("default"))) Counters cudasim_counters;
extern "C" __attribute__((visibility("default"))) int cudasim_delay;  // operations that may stay undone

namespace cudasim {

extern std::recursive_mutex mutex;
extern bool initialized;
CUcontext current_context();

inline int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text && *text ? atoi(text) : otherwise;
}
int architecture();  // 80 for sm_80
double seconds();
void log(const char *format, ...) __attribute__((format(printf, 1, 2)));

// queue.cpp: in order, one after the other, whatever the stream.
CUresult later(std::function<CUresult()> work);  // does it, at once or later; an error may be that of earlier work
CUresult wait();                                 // until everything is done
bool is_idle();
#define WAIT \
  do { if (CUresult error_ = cudasim::wait()) return error_; } while (0)

// memory.cpp
enum class Kind { device, managed, module_global, pinned_host };
struct Arena {
  u64 base, size;
  const u16 *valid_bytes;
};
Arena arena();
bool is_allocated(u64 address, u64 size);
void register_block(u64 address, u64 size, Kind);
void unregister_block(u64 address);
bool poisoning();
constexpr u8 poison = 0xff;  // NaN in every floating type, -1 or the maximum in every integer type

// fibers.cpp, services.cpp
extern const Services services;
extern CUresult launch_error;
void run_block_on_fibers(const Kernel &, const Thread &prototype, u8 *parameters, u32 threads);
u32 barrier(Thread *, u32 id, u32 count, BarrierReduction, u32 predicate);
u32 warp(Thread *, WarpOperation, u32 mask, u32 value, u32 b, u32 c, u32 *predicate);
void yield(Thread *);
void exit_thread(Thread *);
[[noreturn]] void fail(Thread *, CUresult);

// launch.cpp: seeded orders. Without CUDASIM_SHUFFLE both leave the ascending order alone.
bool shuffling();
u64 random_below(u64 bound);
template <class T> void shuffle(std::vector<T> &items) {
  for (size_t i = items.size(); i > 1; i--) std::swap(items[i - 1], items[random_below(i)]);
}

}  // namespace cudasim
