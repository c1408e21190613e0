// Contexts, streams and events. Work is done in the order in which it is asked for, so streams order nothing.
#include "driver.hpp"

struct CUctx_st {
  bool primary;
  int references;
  unsigned flags;
  std::map<int, size_t> limits;
};
struct CUstream_st {
  unsigned flags;
};
struct CUevent_st {
  double when;
  bool recorded;
};

namespace cudasim {

static CUctx_st primary{true, 0, 0, {}};
static thread_local std::vector<CUcontext> stack;

CUcontext current_context() { return stack.empty() ? nullptr : stack.back(); }

static size_t default_limit(CUlimit limit) {
  switch (limit) {
    case CU_LIMIT_STACK_SIZE: return 1024;
    case CU_LIMIT_PRINTF_FIFO_SIZE: return 1 << 20;
    default: return 8 << 20;
  }
}

static CUresult synchronize() {
  REQUIRE_CONTEXT;
  cudasim_counters.synchronizations++;
  return cudasim::wait();
}

}  // namespace cudasim

using namespace cudasim;

API cuCtxCreate(CUcontext *context, CUctxCreateParams *, unsigned flags, CUdevice) {
  REQUIRE_INIT;
  *context = new CUctx_st{false, 1, flags, {}};
  stack.push_back(*context);
  return CUDA_SUCCESS;
}
API cuCtxDestroy(CUcontext context) {
  REQUIRE_INIT;
  if (!context || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
  if (current_context() == context) stack.pop_back();
  delete context;
  return CUDA_SUCCESS;
}
API cuCtxAttach(CUcontext *context, unsigned) {
  REQUIRE_CONTEXT;
  *context = current_context();
  (*context)->references++;
  return CUDA_SUCCESS;
}
API cuCtxDetach(CUcontext context) {
  REQUIRE_INIT;
  if (--context->references > 0 || context->primary) return CUDA_SUCCESS;
  return cuCtxDestroy(context);
}
API cuCtxPushCurrent(CUcontext context) {
  REQUIRE_INIT;
  if (!context) return CUDA_ERROR_INVALID_CONTEXT;
  stack.push_back(context);
  return CUDA_SUCCESS;
}
API cuCtxPopCurrent(CUcontext *context) {
  REQUIRE_CONTEXT;
  if (context) *context = current_context();
  stack.pop_back();
  return CUDA_SUCCESS;
}
API cuCtxSetCurrent(CUcontext context) {
  REQUIRE_INIT;
  if (!stack.empty()) stack.pop_back();
  if (context) stack.push_back(context);
  return CUDA_SUCCESS;
}
API cuCtxGetCurrent(CUcontext *context) { REQUIRE_INIT; *context = current_context(); return CUDA_SUCCESS; }
API cuCtxGetDevice(CUdevice *device) { REQUIRE_CONTEXT; *device = 0; return CUDA_SUCCESS; }
API cuCtxGetFlags(unsigned *flags) { REQUIRE_CONTEXT; *flags = current_context()->flags; return CUDA_SUCCESS; }
API cuCtxGetApiVersion(CUcontext, unsigned *version) { *version = 13000; return CUDA_SUCCESS; }
API cuCtxSynchronize() { return synchronize(); }
API cuCtxSetLimit(CUlimit limit, size_t value) {
  REQUIRE_CONTEXT;
  current_context()->limits[limit] = value;
  return CUDA_SUCCESS;
}
API cuCtxGetLimit(size_t *value, CUlimit limit) {
  REQUIRE_CONTEXT;
  auto &limits = current_context()->limits;
  *value = limits.count(limit) ? limits[limit] : default_limit(limit);
  return CUDA_SUCCESS;
}
API cuCtxGetCacheConfig(CUfunc_cache *config) { REQUIRE_CONTEXT; *config = CU_FUNC_CACHE_PREFER_NONE; return CUDA_SUCCESS; }
API cuCtxSetCacheConfig(CUfunc_cache) { REQUIRE_CONTEXT; return CUDA_SUCCESS; }

API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) {
  REQUIRE_INIT;
  primary.references++;
  *context = &primary;
  return CUDA_SUCCESS;
}
API cuDevicePrimaryCtxRelease(CUdevice) {
  REQUIRE_INIT;
  if (primary.references == 0) return CUDA_ERROR_INVALID_CONTEXT;
  primary.references--;
  return CUDA_SUCCESS;
}
API cuDevicePrimaryCtxGetState(CUdevice, unsigned *flags, int *active) {
  *flags = primary.flags;
  *active = primary.references > 0;
  return CUDA_SUCCESS;
}

API cuStreamCreate(CUstream *stream, unsigned flags) { REQUIRE_CONTEXT; *stream = new CUstream_st{flags}; return CUDA_SUCCESS; }
API cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API cuStreamDestroy(CUstream stream) { REQUIRE_INIT; delete stream; return CUDA_SUCCESS; }
API cuStreamSynchronize(CUstream) { return synchronize(); }
API cuStreamQuery(CUstream) { REQUIRE_CONTEXT; return is_idle() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY; }
API cuStreamWaitEvent(CUstream, CUevent, unsigned) { REQUIRE_CONTEXT; return CUDA_SUCCESS; }

API cuEventCreate(CUevent *event, unsigned) { REQUIRE_CONTEXT; *event = new CUevent_st{0, false}; return CUDA_SUCCESS; }
API cuEventDestroy(CUevent event) { REQUIRE_INIT; delete event; return CUDA_SUCCESS; }
API cuEventRecord(CUevent event, CUstream) {
  REQUIRE_CONTEXT;
  event->when = seconds();
  event->recorded = true;
  return CUDA_SUCCESS;
}
API cuEventSynchronize(CUevent) { return synchronize(); }
API cuEventQuery(CUevent) { REQUIRE_CONTEXT; return is_idle() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY; }
API cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to) {
  REQUIRE_CONTEXT;
  if (!from->recorded || !to->recorded) return CUDA_ERROR_INVALID_HANDLE;
  *milliseconds = (float)((to->when - from->when) * 1e3);
  return CUDA_SUCCESS;
}
