// One block of a kernel with barriers: a fiber for each thread, scheduled in rounds.
//
// In every round each fiber that was runnable at its start runs until it waits, yields or ends. Whoever completes a
// barrier or a warp operation yields too, so that all its members go on together in the next round: the lanes of a
// warp stay in step from one shared-memory access to the next, as PyCUDA's own reductions expect.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "driver.hpp"

#if !defined(__x86_64__)
#error "cudasim: the fiber switch below is written for x86-64"
#endif

// Saves the callee-saved registers and the stack pointer of the caller, and goes on where `to` was saved.
extern "C" void cudasim_switch(void **save, void *to);
asm(R"(
.text
.globl cudasim_switch
.hidden cudasim_switch
.type cudasim_switch, @function
cudasim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size cudasim_switch, .-cudasim_switch
)");

namespace cudasim {

namespace {

constexpr u32 lanes = 32, barriers = 16, saved_registers = 6;
constexpr size_t stack_base = 64 << 10, page = 4096;

enum class State { running, at_barrier, at_warp_operation, done };

struct Fiber {
  void *stack_pointer;
  Thread thread;
  u32 index;
  State state;
  u32 barrier_id;
  BarrierReduction reduction;
  WarpOperation operation;
  u32 mask, value, b, c;      // operands of the warp operation
  u32 result, predicate;      // of the barrier or the warp operation
};

struct Barrier {
  u32 arrived, agreed, expected;  // expected 0: every thread that is not done
};

struct {
  std::vector<Fiber> fibers;
  Barrier barriers[cudasim::barriers];
  u32 alive;
  void *scheduler;
  u8 *parameters;
  void (*run_thread)(Thread *, u8 *);
} block;

Fiber *current;
u8 *stacks;
size_t stack_size, stack_count;

Fiber &fiber_of(Thread *thread) { return *(Fiber *)thread->fiber; }

void to_scheduler() {
  Fiber *fiber = current;
  cudasim_switch(&fiber->stack_pointer, block.scheduler);
}

void open_if_complete(u32 id) {
  Barrier &gate = block.barriers[id];
  if (!gate.arrived || gate.arrived < (gate.expected ? gate.expected : block.alive)) return;
  for (Fiber &fiber : block.fibers) {
    if (fiber.state != State::at_barrier || fiber.barrier_id != id) continue;
    fiber.state = State::running;
    fiber.result = fiber.reduction == BARRIER_COUNT ? gate.agreed
                   : fiber.reduction == BARRIER_AND ? gate.agreed == gate.arrived
                                                    : gate.agreed != 0;
  }
  gate = {};
}

// The lane a shuffle reads and whether it lies in the segment (PTX ISA, shfl.sync).
std::pair<u32, bool> shuffle_source(const Fiber &fiber, u32 lane) {
  const int b = fiber.b & 31, clamp = fiber.c & 31, segment = (fiber.c >> 8) & 31, i = (int)lane;
  const int highest = (i & segment) | (clamp & ~segment), lowest = i & segment;
  int source = i;
  bool inside = false;
  switch (fiber.operation) {
    case WARP_SHUFFLE_UP: source = i - b; inside = source >= highest; break;
    case WARP_SHUFFLE_DOWN: source = i + b; inside = source <= highest; break;
    case WARP_SHUFFLE_XOR: source = i ^ b; inside = source <= highest; break;
    default: source = lowest | (b & ~segment); inside = source <= highest;
  }
  return {inside ? (u32)source : lane, inside};
}

void warp_if_complete(u32 warp, u32 mask) {
  Fiber *lane = &block.fibers[warp * lanes];
  const u32 count = std::min<u32>(lanes, block.fibers.size() - warp * lanes);
  u32 members = 0, ballot = 0;
  for (u32 i = 0; i < count; i++) {
    if (!(mask >> i & 1) || lane[i].state == State::done) continue;
    if (lane[i].state != State::at_warp_operation || lane[i].mask != mask) return;
    members |= 1u << i;
    ballot |= (u32)(lane[i].value != 0) << i;
  }
  for (u32 i = 0; i < count; i++) {
    if (!(members >> i & 1)) continue;
    Fiber &fiber = lane[i];
    fiber.state = State::running;
    switch (fiber.operation) {
      case WARP_ALL: fiber.result = ballot == members; break;
      case WARP_ANY: fiber.result = ballot != 0; break;
      case WARP_UNIFORM: fiber.result = ballot == members || !ballot; break;
      case WARP_BALLOT: fiber.result = ballot; break;
      case WARP_SYNC: fiber.result = 0; break;
      default: {
        auto [source, inside] = shuffle_source(fiber, i);
        fiber.predicate = inside;
        fiber.result = members >> source & 1 ? lane[source].value : fiber.value;
      }
    }
  }
}

[[noreturn]] void finish(Fiber &fiber) {
  fiber.state = State::done;
  block.alive--;
  for (u32 id = 0; id < barriers; id++)
    if (!block.barriers[id].expected) open_if_complete(id);
  const u32 first = fiber.index / lanes * lanes, end = std::min<u32>(first + lanes, block.fibers.size());
  for (u32 i = first; i < end; i++)
    if (block.fibers[i].state == State::at_warp_operation) warp_if_complete(first / lanes, block.fibers[i].mask);
  for (;;) to_scheduler();
}

void fiber_main() {
  Fiber &fiber = *current;
  block.run_thread(&fiber.thread, block.parameters);
  finish(fiber);
}

void reserve_stacks(u32 threads, u32 local_bytes) {
  const size_t need = stack_base + (local_bytes + page - 1) / page * page;
  if (need <= stack_size && threads <= stack_count) return;
  if (stacks) munmap(stacks, stack_size * stack_count);
  stack_size = std::max(need, stack_size);
  stack_count = std::max<size_t>(threads, stack_count);
  stacks = (u8 *)mmap(nullptr, stack_size * stack_count, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) {
    log("cannot map %zu stacks of %zu bytes", stack_count, stack_size);
    abort();
  }
}

void start(Fiber &fiber, u32 index, const Thread &prototype) {
  fiber = {};
  fiber.thread = prototype;
  fiber.thread.fiber = &fiber;
  fiber.index = index;
  fiber.thread.tid[0] = index % prototype.ntid[0];
  fiber.thread.tid[1] = index / prototype.ntid[0] % prototype.ntid[1];
  fiber.thread.tid[2] = index / prototype.ntid[0] / prototype.ntid[1];
  const size_t colour = index % 16 * 192;  // spreads the stacks over the sets of the cache
  void **top = (void **)(stacks + stack_size * (index + 1) - colour);
  *--top = nullptr;  // fiber_main's return address: it never returns; also aligns the stack
  *--top = (void *)fiber_main;
  for (u32 i = 0; i < saved_registers; i++) *--top = nullptr;
  fiber.stack_pointer = top;
}

}  // namespace

u32 barrier(Thread *thread, u32 id, u32 count, BarrierReduction reduction, u32 predicate) {
  Fiber &fiber = fiber_of(thread);
  id %= barriers;
  fiber.state = State::at_barrier;
  fiber.barrier_id = id;
  fiber.reduction = reduction;
  block.barriers[id].arrived++;
  block.barriers[id].agreed += predicate != 0;
  block.barriers[id].expected = count;
  open_if_complete(id);
  to_scheduler();
  return fiber.result;
}

u32 warp(Thread *thread, WarpOperation operation, u32 mask, u32 value, u32 b, u32 c, u32 *predicate) {
  Fiber &fiber = fiber_of(thread);
  fiber.state = State::at_warp_operation;
  fiber.operation = operation;
  fiber.mask = mask;
  fiber.value = value;
  fiber.b = b;
  fiber.c = c;
  warp_if_complete(fiber.index / lanes, mask);
  to_scheduler();
  if (predicate) *predicate = fiber.predicate;
  return fiber.result;
}

void yield(Thread *thread) {
  if (thread->fiber) to_scheduler();
}

void exit_thread(Thread *thread) { finish(fiber_of(thread)); }

void run_block_on_fibers(const Kernel &kernel, const Thread &prototype, u8 *parameters, u32 threads) {
  reserve_stacks(threads, kernel.local_bytes);
  block.fibers.resize(threads);
  memset(block.barriers, 0, sizeof block.barriers);
  block.alive = threads;
  block.parameters = parameters;
  block.run_thread = kernel.run_thread;
  for (u32 i = 0; i < threads; i++) start(block.fibers[i], i, prototype);
  std::vector<Fiber *> round;
  while (block.alive) {
    round.clear();
    for (Fiber &fiber : block.fibers)
      if (fiber.state == State::running) round.push_back(&fiber);
    if (round.empty()) {
      log("deadlock in %s: a barrier or warp operation that not all its threads reach", kernel.name);
      launch_error = CUDA_ERROR_LAUNCH_FAILED;
      return;
    }
    shuffle(round);
    for (Fiber *fiber : round) {
      current = fiber;
      cudasim_switch(&block.scheduler, fiber->stack_pointer);
      if (launch_error) return;
    }
  }
}

void abandon_fiber() {
  for (;;) to_scheduler();
}

}  // namespace cudasim
