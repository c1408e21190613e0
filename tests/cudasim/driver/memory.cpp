// Device memory: a reserved arena, first fit, a red zone behind every block, poisoned when new and when freed.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "driver.hpp"

namespace cudasim {

struct Block {
  u64 size;
  Kind kind;
};

static constexpr u64 red_zone = 64;
static constexpr u64 arena_hint = 0x700000000000ull;
static constexpr u64 page = 4096;
static std::map<u64, Block> blocks;  // by address
static std::map<u64, u64> holes;     // address -> size, never adjacent
static u64 used;
static u64 arena_base, arena_size = 64ull << 30;
static u16 *valid_bytes;

static u64 total() {
  static const u64 value = (u64)setting("CUDASIM_MEM_MB", 4096) << 20;
  return value;
}

bool poisoning() {
  static const bool value = setting("CUDASIM_POISON", 0);
  return value;
}

static void *reserve(u64 hint, u64 size) {
  void *p = mmap((void *)hint, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

Arena arena() {
  LOCK;
  if (!arena_base) {
    while (!(arena_base = (u64)reserve(arena_hint, arena_size)) && arena_size > 1ull << 30) arena_size /= 2;
    valid_bytes = (u16 *)reserve(0, (arena_size >> GRANULE_BITS) * sizeof(u16));
    if (!arena_base || !valid_bytes) {
      log("cannot reserve address space for device memory");
      abort();
    }
    holes[arena_base + page] = arena_size - page;  // a null offset is never valid
  }
  return {arena_base, arena_size, valid_bytes};
}

static u64 footprint(u64 size) { return (size + red_zone + GRANULE - 1) / GRANULE * GRANULE; }

static void mark(u64 address, u64 size, bool live) {
  for (u64 offset = 0; offset < size; offset += GRANULE)
    valid_bytes[(address + offset - arena_base) >> GRANULE_BITS] =
        live ? (u16)std::min<u64>(GRANULE, size - offset) : 0;
}

static u64 allocate(u64 size, Kind kind) {
  LOCK;
  arena();
  if (size > total() || used > total() - size) return 0;
  u64 need = footprint(size);
  auto hole = std::find_if(holes.begin(), holes.end(), [&](auto &h) { return h.second >= need; });
  if (hole == holes.end()) return 0;
  auto [address, room] = *hole;
  holes.erase(hole);
  if (room > need) holes[address + need] = room - need;
  blocks[address] = {size, kind};
  used += size;
  mark(address, size, true);
  if (poisoning()) memset((void *)address, poison, size);
  cudasim_counters.allocations++;
  return address;
}

static void add_hole(u64 address, u64 size) {
  auto hole = holes.emplace(address, size).first;
  auto next = std::next(hole);
  if (next != holes.end() && address + size == next->first) {
    hole->second += next->second;
    holes.erase(next);
  }
  if (hole == holes.begin()) return;
  auto previous = std::prev(hole);
  if (previous->first + previous->second == hole->first) {
    previous->second += hole->second;
    holes.erase(hole);
  }
}

static bool release(u64 address) {
  LOCK;
  auto block = blocks.find(address);
  if (block == blocks.end() || block->second.kind > Kind::managed) return false;
  u64 size = block->second.size, room = footprint(size);
  used -= size;
  blocks.erase(block);
  mark(address, size, false);
  u64 first_page = (address + page - 1) / page * page, end_page = (address + room) / page * page;
  if (end_page > first_page) madvise((void *)first_page, end_page - first_page, MADV_DONTNEED);
  add_hole(address, room);
  return true;
}

static std::map<u64, Block>::iterator block_at(u64 address) {
  auto block = blocks.upper_bound(address);
  if (block == blocks.begin()) return blocks.end();
  --block;
  return address <= block->first + block->second.size ? block : blocks.end();
}

bool is_allocated(u64 address, u64 size) {
  LOCK;
  if (!size) return true;
  auto block = block_at(address);
  return block != blocks.end() && address + size <= block->first + block->second.size;
}

void register_block(u64 address, u64 size, Kind kind) { LOCK; blocks[address] = {size, kind}; }
void unregister_block(u64 address) { LOCK; blocks.erase(address); }

static CUresult allocate_checked(CUdeviceptr *p, size_t size, Kind kind) {
  REQUIRE_CONTEXT;
  REQUIRE(size);
  *p = allocate(size, kind);
  return *p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace cudasim

using namespace cudasim;

API cuDeviceTotalMem(size_t *size, CUdevice) { REQUIRE_INIT; *size = total(); return CUDA_SUCCESS; }
API cuMemGetInfo(size_t *free, size_t *all) {
  REQUIRE_CONTEXT;
  *all = total();
  *free = total() - used;
  return CUDA_SUCCESS;
}
API cuMemAlloc(CUdeviceptr *p, size_t size) { return allocate_checked(p, size, Kind::device); }
API cuMemAllocManaged(CUdeviceptr *p, size_t size, unsigned) { return allocate_checked(p, size, Kind::managed); }
API cuMemAllocPitch(CUdeviceptr *p, size_t *pitch, size_t width, size_t height, unsigned) {
  *pitch = (width + GRANULE - 1) / GRANULE * GRANULE;
  return cuMemAlloc(p, *pitch * height);
}
API cuMemFree(CUdeviceptr p) {
  REQUIRE_INIT;
  WAIT;
  return !p || release(p) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API cuMemGetAddressRange(CUdeviceptr *base, size_t *size, CUdeviceptr p) {
  REQUIRE_CONTEXT;
  LOCK;
  auto block = block_at(p);
  if (block == blocks.end()) return CUDA_ERROR_NOT_FOUND;
  if (base) *base = block->first;
  if (size) *size = block->second.size;
  return CUDA_SUCCESS;
}
API cuPointerGetAttribute(void *value, CUpointer_attribute which, CUdeviceptr p) {
  REQUIRE_CONTEXT;
  LOCK;
  auto block = block_at(p);
  if (block == blocks.end()) return CUDA_ERROR_INVALID_VALUE;
  switch ((int)which) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)value = current_context(); return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)value = 0; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *(unsigned *)value = block->second.kind == Kind::pinned_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
      return CUDA_SUCCESS;
    default: return CUDA_ERROR_NOT_SUPPORTED;
  }
}

API cuMemHostAlloc(void **p, size_t size, unsigned) {
  REQUIRE_CONTEXT;
  REQUIRE(size);
  if (posix_memalign(p, page, size)) return CUDA_ERROR_OUT_OF_MEMORY;
  register_block((u64)*p, size, Kind::pinned_host);
  return CUDA_SUCCESS;
}
API cuMemAllocHost(void **p, size_t size) { return cuMemHostAlloc(p, size, 0); }
API cuMemFreeHost(void *p) {
  WAIT;
  unregister_block((u64)p);
  free(p);
  return CUDA_SUCCESS;
}
API cuMemHostRegister(void *p, size_t size, unsigned) {
  REQUIRE_CONTEXT;
  register_block((u64)p, size, Kind::pinned_host);
  return CUDA_SUCCESS;
}
API cuMemHostUnregister(void *p) { unregister_block((u64)p); return CUDA_SUCCESS; }
API cuMemHostGetDevicePointer(CUdeviceptr *device, void *p, unsigned) { *device = (u64)p; return CUDA_SUCCESS; }
API cuMemHostGetFlags(unsigned *flags, void *) { *flags = 0; return CUDA_SUCCESS; }
