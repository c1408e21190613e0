// What kernels ask of the driver besides synchronization: faults and printf.
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "driver.hpp"

namespace cudasim {

CUresult launch_error;
jmp_buf launch_abort;       // set by the launch of a kernel that runs without fibers
[[noreturn]] void abandon_fiber();

[[noreturn]] void fail(Thread *thread, CUresult error) {
  launch_error = error;
  if (thread->fiber) abandon_fiber();
  longjmp(launch_abort, 1);
}

static std::string place(const Thread *t) {
  char text[128];
  snprintf(text, sizeof text, "block (%u,%u,%u) thread (%u,%u,%u)", t->ctaid[0], t->ctaid[1], t->ctaid[2], t->tid[0],
           t->tid[1], t->tid[2]);
  return text;
}

static void trap(Thread *thread, const char *what) {
  log("%s in %s", what, place(thread).c_str());
  fail(thread, !strncmp(what, "unsupported", 11)   ? CUDA_ERROR_NOT_SUPPORTED
               : !strcmp(what, "device assertion") ? CUDA_ERROR_ASSERT
                                                   : CUDA_ERROR_LAUNCH_FAILED);
}

static void bad_address(Thread *thread, u64 address, u32 size, const char *what) {
  log("bad address 0x%llx (%u bytes, %s) in %s", (unsigned long long)address, size, what, place(thread).c_str());
  fail(thread, strcmp(what, "misaligned") ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_ERROR_MISALIGNED_ADDRESS);
}

static int is_valid(u64 address, u32 size) { return is_allocated(address, size); }

// printf on the device: the arguments lie packed one after the other, each aligned to its own size.
static s32 print(const char *format, const u8 *arguments) {
  auto take = [&](size_t width) {
    arguments = (const u8 *)(((u64)arguments + width - 1) & ~(u64)(width - 1));
    u64 value = 0;
    memcpy(&value, arguments, width);
    arguments += width;
    return value;
  };
  s32 count = 0;
  for (const char *s = format; *s; s++) {
    if (*s != '%') { putchar(*s); continue; }
    if (s[1] == '%') { putchar('%'); s++; continue; }
    std::string spec = "%";
    bool is_long = false;
    for (s++; *s && !strchr("diouxXcsfFeEgGaAp", *s); s++) {
      if (strchr("lzjt", *s)) is_long = true;
      else if (*s == '*') spec += std::to_string((int)take(4));
      else if (*s != 'h') spec += *s;
    }
    if (!*s) break;
    count++;
    if (strchr("fFeEgGaA", *s)) {
      u64 bits = take(8);
      double value;
      memcpy(&value, &bits, 8);
      printf((spec + *s).c_str(), value);
    } else if (*s == 's') {
      printf((spec + 's').c_str(), (const char *)take(8));
    } else if (*s == 'p' || is_long) {
      printf((spec + "ll" + (*s == 'p' ? 'x' : *s)).c_str(), (long long)take(8));
    } else {
      printf((spec + *s).c_str(), (int)take(4));
    }
  }
  fflush(stdout);
  return count;
}

const Services services = {barrier, warp, yield, exit_thread, trap, bad_address, is_valid, print};

}  // namespace cudasim
