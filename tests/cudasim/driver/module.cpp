// Modules: PTX text → C (ptx2c) → shared library (gcc) → dlopen. Compiled libraries are cached by content.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "driver.hpp"

#ifndef CUDASIM_HOME
#error "CUDASIM_HOME: the folder that holds ptx2c/ and driver/"
#endif

namespace cudasim {

static u64 digest(const std::string &text, u64 hash = 14695981039346656037ull) {  // FNV-1a
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

static std::string read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

static bool write(const std::string &path, const std::string &text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  return (bool)file.flush();
}

static std::string setting_text(const char *name, const std::string &otherwise) {
  const char *text = getenv(name);
  return text && *text ? text : otherwise;
}

static std::string quoted(const std::string &text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

static const std::string &cache_folder() {
  static const std::string folder = [] {
    std::string path = setting_text("CUDASIM_CACHE", setting_text("HOME", "/tmp") + "/.cache/cudasim");
    for (size_t i = 1; i <= path.size(); i++)
      if (i == path.size() || path[i] == '/') mkdir(path.substr(0, i).c_str(), 0777);
    return path;
  }();
  return folder;
}

static std::string compiler_command() {
  static const std::string command =
      setting_text("CUDASIM_CC", "gcc") + " " + setting_text("CUDASIM_CFLAGS", "-O1 -march=native") +
      (setting("CUDASIM_CHECK", 1) ? " -DCUDASIM_CHECK" : "") +
      " -w -std=gnu11 -fPIC -shared -ffp-contract=off -fno-strict-aliasing -fwrapv -fno-math-errno";
  return command;
}

static bool translate(const std::string &ptx, const std::string &library) {
  const double began = seconds();
  const std::string stem = library + "." + std::to_string(getpid());
  if (!write(stem + ".ptx", ptx)) return false;
  const std::string python = setting_text("CUDASIM_PYTHON", "python3");
  const std::string command =
      "cd " + quoted(CUDASIM_HOME) + " && " + python + " -S -E -m ptx2c " + quoted(stem + ".ptx") + " " +
      quoted(stem + ".c") + " && " + compiler_command() + " -I" + quoted(CUDASIM_HOME "/driver") + " " +
      quoted(stem + ".c") + " -o " + quoted(stem + ".so") + " -lm";
  if (system(command.c_str())) {
    log("translation failed; the PTX is kept: %s.ptx", stem.c_str());
    return false;
  }
  if (!setting("CUDASIM_KEEP", 0)) {
    unlink((stem + ".ptx").c_str());
    unlink((stem + ".c").c_str());
  }
  if (setting("CUDASIM_TRACE", 0)) log("translated %zu bytes of PTX in %.2f s", ptx.size(), seconds() - began);
  return rename((stem + ".so").c_str(), library.c_str()) == 0;
}

// Every module needs globals of its own: a library that is loaded already is loaded again from a copy.
static void *open_fresh(const std::string &library) {
  void *loaded = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (!loaded) return dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  dlclose(loaded);
  static int serial;
  const std::string copy = library + "." + std::to_string(getpid()) + "." + std::to_string(serial++);
  if (!write(copy, read(library))) return nullptr;
  loaded = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
  unlink(copy.c_str());
  return loaded;
}

static CUresult load(CUmodule *out, const std::string &ptx) {
  static const u64 base = digest(compiler_command() + CUDASIM_SOURCE_DIGEST);
  char name[40];
  snprintf(name, sizeof name, "%016llx%016llx", (unsigned long long)digest(ptx, base),
           (unsigned long long)digest(ptx, ~base));
  const std::string library = cache_folder() + "/" + name + ".so";
  if (access(library.c_str(), R_OK) && !translate(ptx, library)) return CUDA_ERROR_INVALID_PTX;
  void *handle = open_fresh(library);
  if (!handle) {
    log("%s", dlerror());
    return CUDA_ERROR_INVALID_IMAGE;
  }
  *out = new CUmod_st{handle, (const Kernel *)dlsym(handle, "cudasim_kernels"),
                      (const Global *)dlsym(handle, "cudasim_globals"), *(u32 *)dlsym(handle, "cudasim_static_shared"),
                      {}};
  for (const Global *global = (*out)->globals; global->name; global++)
    register_block((u64)global->address, global->size, Kind::module_global);
  return CUDA_SUCCESS;
}

}  // namespace cudasim

using namespace cudasim;

API cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, CUjit_option *, void **) {
  REQUIRE_CONTEXT;
  REQUIRE(image);
  LOCK;
  constexpr u32 fatbin_magic = 0xba55ed50;
  u32 magic;
  memcpy(&magic, image, sizeof magic);
  if (!memcmp(image, "\x7f" "ELF", 4) || magic == fatbin_magic) {
    log("got machine code; only PTX can be emulated (put tests/cudasim/bin first on PATH: its nvcc makes PTX)");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  return load(module, (const char *)image);
}
API cuModuleLoadData(CUmodule *module, const void *image) { return cuModuleLoadDataEx(module, image, 0, 0, 0); }
API cuModuleLoad(CUmodule *module, const char *path) {
  REQUIRE_CONTEXT;
  if (access(path, R_OK)) return CUDA_ERROR_FILE_NOT_FOUND;
  return cuModuleLoadData(module, read(path).c_str());
}
API cuModuleUnload(CUmodule module) {
  REQUIRE_INIT;
  WAIT;
  LOCK;
  for (const Global *global = module->globals; global->name; global++) unregister_block((u64)global->address);
  for (auto &[name, function] : module->functions) delete function;
  dlclose(module->library);
  delete module;
  return CUDA_SUCCESS;
}
API cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  REQUIRE_CONTEXT;
  LOCK;
  for (const Kernel *kernel = module->kernels; kernel->name; kernel++) {
    if (strcmp(kernel->name, name)) continue;
    CUfunction &known = module->functions[name];
    if (!known) known = new CUfunc_st{module, kernel};
    *function = known;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_FOUND;
}
API cuModuleGetGlobal(CUdeviceptr *address, size_t *size, CUmodule module, const char *name) {
  REQUIRE_CONTEXT;
  for (const Global *global = module->globals; global->name; global++) {
    if (strcmp(global->name, name)) continue;
    if (address) *address = (u64)global->address;
    if (size) *size = global->size;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_FOUND;
}
