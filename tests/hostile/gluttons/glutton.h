// One way each of taking more than a job may. A glutton that is not stopped stops by itself when it
// has had enough and exits 0, so that a guard that fails costs the host nothing. With JUST_PAST in
// its environment that is a little more than the limits of the table's test, and it ends at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace writ::hostile {

std::size_t Enough();  // bytes
int EnoughProcesses();
int EnoughFiles();
int EnoughDescriptors();
int EnoughBurns();  // of about 30 ms

struct Glutton {
  std::string_view name;
  int (*run)();  // exit code: 0 nothing stopped it, 1 refused, 2 cannot be tried here
};
const std::vector<Glutton>& ProcessGluttons();
const std::vector<Glutton>& DiskGluttons();
const std::vector<Glutton>& OtherGluttons();

// Waits to be ended; exit 0 where nobody does within a minute, or at once with JUST_PAST.
int AwaitTheEnd();

}  // namespace writ::hostile
