// One way each of taking more than a job may. A glutton that is not stopped stops by itself at
// kEnough and exits 0, so that a guard that fails costs the host nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace writ::hostile {

inline constexpr std::size_t kEnough = 768u << 20;  // bytes
inline constexpr int kEnoughProcesses = 4000;
inline constexpr int kEnoughFiles = 200'000;

struct Glutton {
  std::string_view name;
  int (*run)();  // exit code: 0 nothing stopped it, 1 refused, 2 cannot be tried here
};
const std::vector<Glutton>& ProcessGluttons();
const std::vector<Glutton>& DiskGluttons();
const std::vector<Glutton>& OtherGluttons();

// Waits to be ended; exit 0 where nobody does within a minute.
int AwaitTheEnd();

}  // namespace writ::hostile
