// Initialization, the one device and its attributes, error names.
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "driver.hpp"

Counters cudasim_counters;

namespace cudasim {

std::recursive_mutex mutex;
bool initialized;

int architecture() {
  static const int value = setting("CUDASIM_SM", 80);
  return value;
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void log(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("cudasim (emulated GPU): ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

static int attribute(int which) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH: return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 48 * 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return 163 * 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return 164 * 1024;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 65536;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return 65536;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return 32;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return setting("CUDASIM_SMS", 2);
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: return 512;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT: return 32;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS: return 1;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return architecture() / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return architecture() % 10;
    default: return 0;
  }
}

struct ErrorText {
  int code;
  const char *name, *text;
};
static const ErrorText errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {301, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {710, "CUDA_ERROR_ASSERT", "device-side assert triggered"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported by the emulator"},
};

static const ErrorText &describe(CUresult code) {
  static const ErrorText unknown = {-1, "CUDA_ERROR_UNKNOWN", "error unknown to the emulator"};
  for (const ErrorText &error : errors)
    if (error.code == (int)code) return error;
  return unknown;
}

}  // namespace cudasim

using namespace cudasim;

API cuInit(unsigned) {
  if (!initialized) log("pretending to be sm_%d; no timing of it means anything", architecture());
  initialized = true;
  return CUDA_SUCCESS;
}
API cuDriverGetVersion(int *version) { *version = 13000; return CUDA_SUCCESS; }
API cuGetErrorName(CUresult code, const char **text) { *text = describe(code).name; return CUDA_SUCCESS; }
API cuGetErrorString(CUresult code, const char **text) { *text = describe(code).text; return CUDA_SUCCESS; }

API cuDeviceGetCount(int *count) { REQUIRE_INIT; *count = 1; return CUDA_SUCCESS; }
API cuDeviceGet(CUdevice *device, int ordinal) {
  REQUIRE_INIT;
  if (ordinal) return CUDA_ERROR_INVALID_DEVICE;
  *device = 0;
  return CUDA_SUCCESS;
}
API cuDeviceGetName(char *name, int size, CUdevice) {
  REQUIRE_INIT;
  snprintf(name, size, "cudasim (emulated sm_%d)", architecture());
  return CUDA_SUCCESS;
}
API cuDeviceComputeCapability(int *major, int *minor, CUdevice) {
  REQUIRE_INIT;
  *major = architecture() / 10;
  *minor = architecture() % 10;
  return CUDA_SUCCESS;
}
API cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice) {
  REQUIRE_INIT;
  *value = attribute(which);
  return CUDA_SUCCESS;
}
API cuDeviceGetPCIBusId(char *id, int size, CUdevice) { snprintf(id, size, "0000:00:00.0"); return CUDA_SUCCESS; }
API cuDeviceGetByPCIBusId(CUdevice *device, const char *) { *device = 0; return CUDA_SUCCESS; }
API cuDeviceCanAccessPeer(int *can, CUdevice, CUdevice) { *can = 0; return CUDA_SUCCESS; }
API cuProfilerInitialize(const char *, const char *, int) { return CUDA_SUCCESS; }  // PyCUDA links it; cuda.h dropped it
API cuProfilerStart() { return CUDA_SUCCESS; }
API cuProfilerStop() { return CUDA_SUCCESS; }
