// Copies and fills. Every device range is checked against the live blocks first.
#include <algorithm>
#include <cstring>

#include "driver.hpp"

using namespace cudasim;

#define REQUIRE_RANGE(p, n) \
  do { REQUIRE_CONTEXT; REQUIRE(is_allocated((u64)(p), (n))); } while (0)

API cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream) {
  REQUIRE_RANGE(to, size);
  cudasim_counters.host_to_device_bytes += size;
  return later([to, staged = std::vector<u8>((const u8 *)from, (const u8 *)from + size)] {
    std::copy(staged.begin(), staged.end(), (u8 *)to);
    return CUDA_SUCCESS;
  });
}
API cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t size) { return cuMemcpyHtoDAsync(to, from, size, nullptr); }

API cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream) {
  REQUIRE_RANGE(from, size);
  cudasim_counters.device_to_host_bytes += size;
  WAIT;
  memcpy(to, (void *)from, size);
  return CUDA_SUCCESS;
}
API cuMemcpyDtoH(void *to, CUdeviceptr from, size_t size) {
  cudasim_counters.synchronizations++;  // the host waits for it
  return cuMemcpyDtoHAsync(to, from, size, nullptr);
}

API cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream) {
  REQUIRE_RANGE(to, size);
  REQUIRE_RANGE(from, size);
  return later([=] {
    memmove((void *)to, (void *)from, size);
    return CUDA_SUCCESS;
  });
}
API cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t size) { return cuMemcpyDtoDAsync(to, from, size, nullptr); }

static u8 *address(CUmemorytype type, const void *host, CUdeviceptr device) {
  return type == CU_MEMORYTYPE_HOST ? (u8 *)host : (u8 *)device;
}

API cuMemcpy3D(const CUDA_MEMCPY3D *copy) {
  REQUIRE_CONTEXT;
  WAIT;
  if (copy->srcMemoryType == CU_MEMORYTYPE_ARRAY || copy->dstMemoryType == CU_MEMORYTYPE_ARRAY)
    return CUDA_ERROR_NOT_SUPPORTED;
  const size_t width = copy->WidthInBytes, height = copy->Height, depth = std::max<size_t>(1, copy->Depth);
  const size_t from_pitch = copy->srcPitch ? copy->srcPitch : width, to_pitch = copy->dstPitch ? copy->dstPitch : width;
  const size_t from_height = copy->srcHeight ? copy->srcHeight : height;
  const size_t to_height = copy->dstHeight ? copy->dstHeight : height;
  for (size_t z = 0; z < depth; z++)
    for (size_t y = 0; y < height; y++) {
      u8 *from = address(copy->srcMemoryType, copy->srcHost, copy->srcDevice) +
                 ((copy->srcZ + z) * from_height + copy->srcY + y) * from_pitch + copy->srcXInBytes;
      u8 *to = address(copy->dstMemoryType, copy->dstHost, copy->dstDevice) +
               ((copy->dstZ + z) * to_height + copy->dstY + y) * to_pitch + copy->dstXInBytes;
      if (copy->srcMemoryType == CU_MEMORYTYPE_DEVICE) REQUIRE_RANGE(from, width);
      if (copy->dstMemoryType == CU_MEMORYTYPE_DEVICE) REQUIRE_RANGE(to, width);
      memmove(to, from, width);
    }
  return CUDA_SUCCESS;
}
API cuMemcpy3DAsync(const CUDA_MEMCPY3D *copy, CUstream) { return cuMemcpy3D(copy); }
API cuMemcpy2D(const CUDA_MEMCPY2D *copy) {
  CUDA_MEMCPY3D solid{};
  solid.srcXInBytes = copy->srcXInBytes;
  solid.srcY = copy->srcY;
  solid.srcMemoryType = copy->srcMemoryType;
  solid.srcHost = copy->srcHost;
  solid.srcDevice = copy->srcDevice;
  solid.srcPitch = copy->srcPitch;
  solid.dstXInBytes = copy->dstXInBytes;
  solid.dstY = copy->dstY;
  solid.dstMemoryType = copy->dstMemoryType;
  solid.dstHost = copy->dstHost;
  solid.dstDevice = copy->dstDevice;
  solid.dstPitch = copy->dstPitch;
  solid.WidthInBytes = copy->WidthInBytes;
  solid.Height = copy->Height;
  return cuMemcpy3D(&solid);
}
API cuMemcpy2DUnaligned(const CUDA_MEMCPY2D *copy) { return cuMemcpy2D(copy); }
API cuMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream) { return cuMemcpy2D(copy); }

template <class T> static CUresult fill(CUdeviceptr to, T value, size_t count) {
  REQUIRE_RANGE(to, count * sizeof(T));
  if (to % sizeof(T)) return CUDA_ERROR_INVALID_VALUE;
  return later([=] {
    std::fill_n((T *)to, count, value);
    return CUDA_SUCCESS;
  });
}
API cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) { return fill(to, value, count); }
API cuMemsetD16(CUdeviceptr to, unsigned short value, size_t count) { return fill(to, value, count); }
API cuMemsetD32(CUdeviceptr to, unsigned value, size_t count) { return fill(to, value, count); }
API cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream) { return fill(to, value, count); }
API cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream) { return fill(to, value, count); }
API cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream) { return fill(to, value, count); }
