#include "writ/backends/microvm/kernel_modules.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <sstream>

namespace writ::backends::microvm {
namespace {

constexpr std::array<std::string_view, 6> kDrivers = {"virtio_mmio", "virtio_console", "virtio_blk",
                                                      "virtio-rng",  "overlay",        "erofs"};

// For monitors with PCI or vsock; a kernel without them boots under QEMU alone.
constexpr std::array<std::string_view, 2> kOtherDrivers = {"virtio_pci",
                                                           "vmw_vsock_virtio_transport"};

// "kernel/a/virtio_blk.ko.xz" -> "virtio_blk"
std::string DriverName(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return std::string(path.substr(0, path.find('.')));
}

}  // namespace

std::string ModuleFileName(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

Result<std::vector<std::string>> ModulesFor(std::string_view dep, std::string_view builtin) {
  struct Module {
    std::string path;
    std::vector<std::string> needs;  // what has to be there already comes last
  };
  std::map<std::string, Module> modules;
  std::istringstream lines{std::string(dep)};
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    Module module{line.substr(0, colon), {}};
    std::istringstream words(line.substr(colon + 1));
    for (std::string word; words >> word;) module.needs.push_back(word);
    modules[DriverName(module.path)] = std::move(module);
  }
  std::set<std::string> built_in;
  std::istringstream names{std::string(builtin)};
  for (std::string line; std::getline(names, line);) built_in.insert(DriverName(line));

  std::vector<std::string> order;
  auto add = [&order](const std::string& path) {
    if (std::find(order.begin(), order.end(), path) == order.end()) order.push_back(path);
  };
  auto find = [&](std::string_view name) {  // false: the kernel has it neither way
    const std::string driver(name);
    if (built_in.contains(driver)) return true;
    auto it = modules.find(driver);
    if (it == modules.end()) return false;
    const Module& module = it->second;
    for (auto need = module.needs.rbegin(); need != module.needs.rend(); ++need) add(*need);
    add(module.path);
    return true;
  };
  std::string missing;
  for (std::string_view name : kDrivers)
    if (!find(name)) missing += (missing.empty() ? "" : ", ") + std::string(name);
  for (std::string_view name : kOtherDrivers) find(name);
  if (!missing.empty())
    return Error{ErrorKind::kInvalid, "microvm.kernel_drivers",
                 "this kernel has no drivers for " + missing,
                 "take Debian's linux-image-cloud-amd64, or a kernel with these built in"};
  return order;
}

}  // namespace writ::backends::microvm
