#include "writ/backends/capability.h"

#include <cstdlib>

namespace writ::backends {

std::string_view EnforcementName(Enforcement enforcement) {
  switch (enforcement) {
    case Enforcement::kNone:
      return "none";
    case Enforcement::kAdvisory:
      return "advisory";
    case Enforcement::kKernel:
      return "kernel";
  }
  std::abort();
}

std::string_view AspectName(Aspect aspect) {
  switch (aspect) {
    case Aspect::kFiles:
      return "files";
    case Aspect::kNetwork:
      return "network";
    case Aspect::kSyscalls:
      return "syscalls";
    case Aspect::kResources:
      return "resources";
    case Aspect::kProcesses:
      return "processes";
  }
  std::abort();
}

const AspectCapability& Capabilities::Of(Aspect aspect) const {
  switch (aspect) {
    case Aspect::kFiles:
      return files;
    case Aspect::kNetwork:
      return network;
    case Aspect::kSyscalls:
      return syscalls;
    case Aspect::kResources:
      return resources;
    case Aspect::kProcesses:
      return processes;
  }
  std::abort();
}

}  // namespace writ::backends
