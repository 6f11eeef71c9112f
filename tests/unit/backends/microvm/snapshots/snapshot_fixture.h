// What a monitor would have left behind, small.
#pragma once

#include <string>

#include "writ/backends/microvm/snapshots/snapshot_manifest.h"

namespace writ::test {

inline backends::microvm::SnapshotFit TestFit(std::uint64_t memory_bytes) {
  backends::microvm::SnapshotFit fit;
  fit.architecture = "x86_64";
  fit.image = protocol::Sha256("image");
  fit.memory_bytes = memory_bytes;
  fit.vmm.version = {7, 2, 22};
  fit.vmm.binary = protocol::Sha256("program");
  fit.vmm.cpu = "GenuineIntel 6 85 7 flags";
  fit.layout = protocol::Sha256("layout");
  return fit;
}

}  // namespace writ::test
