// ArtifactLimits: how much of what a contract declares as output a runner takes.
#pragma once

#include <cstdint>

namespace writ::runner {

struct ArtifactLimits {
  std::uint64_t max_files = 1'000;
  std::uint64_t max_file_bytes = 1ull << 30;
  std::uint64_t max_total_bytes = 4ull << 30;
  std::uint64_t max_entries = 500'000;  // of the workspace that are looked at
  std::uint64_t max_result_bytes = 1ull << 20;
};

}  // namespace writ::runner
