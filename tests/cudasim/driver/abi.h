/* What the driver (C++) and the kernels translated from PTX (C) have in common. */
#ifndef CUDASIM_ABI_H
#define CUDASIM_ABI_H
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

/* Device memory is handed out in granules; valid_bytes[i] says how much of granule i belongs to a live block. */
#define GRANULE_BITS 9
#define GRANULE (1u << GRANULE_BITS)

typedef enum {
  WARP_SHUFFLE_UP, WARP_SHUFFLE_DOWN, WARP_SHUFFLE_XOR, WARP_SHUFFLE_INDEX,
  WARP_ALL, WARP_ANY, WARP_UNIFORM, WARP_BALLOT, WARP_SYNC
} WarpOperation;

typedef enum { BARRIER_COUNT, BARRIER_AND, BARRIER_OR } BarrierReduction;

typedef struct Thread Thread;

/* What a running kernel asks of the driver. */
typedef struct Services {
  /* Waits for `count` threads (0: all) and reduces their predicates. */
  u32 (*barrier)(Thread *, u32 id, u32 count, BarrierReduction, u32 predicate);
  u32 (*warp)(Thread *, WarpOperation, u32 mask, u32 value, u32 b, u32 c, u32 *predicate);
  void (*yield)(Thread *);       /* after each volatile shared access: keeps the lanes of a warp in step */
  void (*exit_thread)(Thread *); /* never returns */
  void (*trap)(Thread *, const char *what);
  void (*bad_address)(Thread *, u64 address, u32 size, const char *what);
  int (*is_valid)(u64 address, u32 size); /* the slow, complete check */
  s32 (*print)(const char *format, const u8 *arguments);
} Services;

struct Thread {
  u32 tid[3], ntid[3], ctaid[3], nctaid[3];
  u8 *shared;
  u32 shared_size, dynamic_shared_size;
  const Services *services;
  void *fiber; /* null in kernels that never wait */
  u64 arena, arena_size;
  const u16 *valid_bytes;
};

typedef struct Kernel {
  const char *name;
  /* Kernels that never wait: all threads of a block one after the other, by `order` (null: ascending). */
  void (*run_block)(Thread *, u8 *parameters, const u32 *order);
  /* Kernels that wait: one thread, on a fiber of its own. */
  void (*run_thread)(Thread *, u8 *parameters);
  u32 parameter_count;
  const u32 *parameter_offset, *parameter_size;
  u32 parameter_bytes, local_bytes, max_threads;
  u32 shared_bytes, shared_end; /* of the static shared memory that it uses; the whole module lays it out together */
} Kernel;

typedef struct Global {
  const char *name;
  void *address;
  u64 size;
} Global;

#endif
