// Work that a device does later than it is asked for. With CUDASIM_DELAY=n up to n operations stay undone until the host
// waits or asks for more; a fault is then reported by a later call, and by every one after that, as of a real device.
#include <deque>

#include "driver.hpp"

int cudasim_delay = cudasim::setting("CUDASIM_DELAY", 0);

namespace cudasim {

static std::deque<std::function<CUresult()>> undone;
static CUresult fault;

static CUresult keep_at_most(size_t count) {
  while (!fault && undone.size() > count) {
    const std::function<CUresult()> work = std::move(undone.front());
    undone.pop_front();
    if (CUresult error = work()) {
      if (!cudasim_delay) return error;
      fault = error;
      undone.clear();
    }
  }
  return fault;
}

CUresult later(std::function<CUresult()> work) {
  LOCK;
  if (fault) return fault;
  undone.push_back(std::move(work));
  return keep_at_most(cudasim_delay > 0 ? cudasim_delay : 0);
}

CUresult wait() {
  LOCK;
  return keep_at_most(0);
}

bool is_idle() {
  LOCK;
  return undone.empty();
}

}  // namespace cudasim
