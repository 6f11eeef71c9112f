// A snapshot's manifest. Held: what is read is written as it was read, fits itself, and names no
// file outside of its folder.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/backends/microvm/snapshots/snapshot_manifest.h"
#include "writ/protocol/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ;
  auto value = json::Parse(std::string_view(reinterpret_cast<const char*>(data), size),
                           {.max_depth = 8, .max_bytes = 1u << 20});
  if (!value) return 0;
  auto manifest = backends::microvm::ReadSnapshotManifest(*value);
  if (!manifest) return 0;
  if (json::CanonicalBytes(manifest->ToJson()) != json::CanonicalBytes(*value)) std::abort();
  if (!backends::microvm::CheckFits(*manifest, manifest->fit)) std::abort();
  for (const auto& part : manifest->state)
    if (part.name.find('/') != std::string::npos || part.name.front() == '.') std::abort();
  return 0;
}
